"""Selection of the trained parameters: those that match a pattern, or LoRA weights.

LoRA: Hu et al. 2021, arXiv 2106.09685. Parameters are nested dicts of arrays by network.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from prism_jax import rng
from prism_jax.sharding import dotted
from prism_jax.weights.lora import changed as changed

UNET = (r"^unet\.",)
UNET_AND_TEXT = (r"^unet\.", r"^text_encoder\.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lora:
    """LoRA: trains a low-rank change of each target matrix instead of the matrix."""

    rank: int = 16
    """Rank of the changes."""
    alpha: float | None = None
    """The change is multiplied by alpha / rank; None: by 1."""
    targets: str = r"^unet\..*\.attn[12]\.(to_q|to_k|to_v|to_out)\.kernel$"
    """Regular expression over the dotted paths of the matrices; the default is the set that diffusers adapts."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"lora.rank {self.rank} is not a rank; use 1 or more")

    @property
    def scale(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.rank


def split(weights: Mapping[str, Any], patterns: tuple[str, ...]) -> tuple[dict, dict]:
    """The parameters whose dotted path matches one of `patterns`, and the others.

    Raises:
      ValueError: a pattern matches no parameter.
    """
    names = [dotted(path) for path in flatten_dict(weights)]
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            raise ValueError(f"trained names {pattern!r}, which no parameter has; one is called {names[0]}")
    is_trained = lambda name: any(re.search(pattern, name) for pattern in patterns)
    return _chosen(weights, is_trained), _chosen(weights, lambda name: not is_trained(name))


def merge_dicts(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> dict:
    """One nested dict of two that have no leaf in common."""
    return unflatten_dict(flatten_dict(a) | flatten_dict(b))


def low_rank(weights: Mapping[str, Any], lora: Lora, seed: int) -> dict:
    """The first factors, in place of the matrices: "a" [in, r], normal of deviation 1/r, and "b" [r, out], zeros.

    Raises:
      ValueError: `lora.targets` matches nothing, or an array that is not a matrix.
    """
    matrices = _chosen(weights, lambda name: re.search(lora.targets, name) is not None)
    if not matrices:
        raise ValueError(f"lora.targets {lora.targets!r} is found in no parameter")
    root = rng.stream(rng.key(seed), "low rank")

    def factors(path: tuple[Any, ...], kernel: jax.Array) -> dict[str, jax.Array]:
        if kernel.ndim != 2:
            raise ValueError(f"lora.targets names {dotted(path)} of shape {kernel.shape}; only matrices are changed")
        key = rng.stream(root, dotted(path))
        a = jax.random.normal(key, (kernel.shape[0], lora.rank)) / lora.rank
        return {"a": a, "b": jnp.zeros((lora.rank, kernel.shape[1]))}

    return jax.tree_util.tree_map_with_path(factors, matrices)


def _chosen(tree: Mapping[Any, Any], is_chosen: Callable[[str], bool]) -> dict:
    """The leaves whose dotted path `is_chosen`, without empty dicts."""
    leaves = flatten_dict(tree).items()
    return unflatten_dict({path: leaf for path, leaf in leaves if is_chosen(dotted(path))})
