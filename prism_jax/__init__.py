"""Counterfactual chest X-rays in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prism_jax import editing
    from prism_jax.classifier import Classifier
    from prism_jax.stable_diffusion import StableDiffusion

__all__ = ["Classifier", "StableDiffusion", "editing"]
_MODULES = {"Classifier": "classifier", "StableDiffusion": "stable_diffusion"}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used (PEP 562): JAX and transformers take seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, name)}")
    return getattr(module, name) if name in _MODULES else module


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
