"""Low-rank changes of matrices (LoRA; Hu et al. 2021, arXiv 2106.09685): added to weights, and as a file of diffusers.

Weights are nested dicts of arrays by network, "unet" and "text_encoder". Factors are nested dicts too: where weights
have a kernel [in, out], they have {"a": [in, r], "b": [r, out]}, and the kernel's change is `scale * a @ b`. A
convolution's kernel is [h, w, in, out], its "a" [h, w, in, r].
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import safe_open

from prism_jax.weights import diffusers, files

FILE = "pytorch_lora_weights.safetensors"  # diffusers' name
NAMES = {"unet": diffusers.UNET, "text_encoder": diffusers.TEXT_ENCODER}  # the networks that are changed
_TEXT_PREFIX = "text_model."  # of the text encoder's names; transformers 5 leaves it out
_SETTINGS = "lora_adapter_metadata"  # metadata key of newer files that holds alpha


def changed(weights: Any, factors: Any, scale: float) -> Any:
    """`weights` with `scale * a @ b` added to the matrices that have factors."""
    if not isinstance(weights, Mapping):
        return weights + scale * (factors["a"] @ factors["b"])
    part = partial(changed, scale=scale)
    return {key: part(value, factors[key]) if key in factors else value for key, value in weights.items()}


def merge(weights: Mapping[str, Any], factors: Mapping[str, Any], scale: float = 1.0) -> dict:
    """`changed`, multiplied on the host: accelerators round float32 products. All other leaves are those of `weights`.

    Raises:
      ValueError: factors without a weight, or whose product has another shape; all at once.
    """
    shapes = {path: np.shape(leaf) for path, leaf in flatten_dict(weights).items()}
    unlike = []
    for path, (a, b) in _pairs(factors).items():
        product = (*a.shape[:-1], b.shape[-1])
        if shapes.get(path) != product or b.shape != (a.shape[-1], product[-1]):
            unlike.append(f"{_dotted(path)} {a.shape} @ {b.shape} for {shapes.get(path, 'no parameter')}")
    if unlike:
        raise ValueError(f"low-rank changes do not fit the model: {', '.join(sorted(unlike))}")
    return changed(weights, jax.device_get(factors), scale)


def save(factors: Mapping[str, Any], file: Path, *, scale: float = 1.0, dtype: jnp.dtype = jnp.float32) -> None:
    """Writes a file that diffusers and peft load: `lora_A` [r, in], `lora_B` [out, r] with `scale` multiplied in.

    A file without alphas means alpha = rank, a scale of 1, to both.

    Raises:
      ValueError: factors of something that is not a kernel, for which the layout has no name.
    """
    others = sorted(_dotted(path) for path in _pairs(factors) if path[-1] != "kernel")
    if others:
        raise ValueError(f"a LoRA file changes kernels only, not {', '.join(others)}; merge these into a model")
    tensors = {}
    for path, (a, b) in _pairs(factors).items():
        module = _module(path)
        b = scale * b.reshape((1,) * (a.ndim - 2) + b.shape)  # [r, out], of a convolution [1, 1, r, out]
        tensors[f"{module}.lora_A.weight"] = diffusers.to_foreign(path, a).astype(dtype)
        tensors[f"{module}.lora_B.weight"] = diffusers.to_foreign(path, b).astype(dtype)
    files.write(tensors, file)


def load(file: Path, weights: Mapping[str, Any]) -> dict:
    """The factors in a file of diffusers or peft, float32, for a model with the names of `weights`.

    Alpha, where the file gives it, is multiplied into "b": the scale is 1.

    Raises:
      ValueError: tensors that belong to no kernel, or one factor without the other; all at once.
    """
    kernels = [path for path in flatten_dict(weights) if path[0] in NAMES and path[-1] == "kernel"]
    modules = {_module(path): path for path in kernels}
    modules |= {name.replace(f".{_TEXT_PREFIX}", ".", 1): path for name, path in modules.items()}
    factors_of, unread = {}, []
    tensors, scale = dict(files.read([file])), _scales(file)
    for name, value in tensors.items():
        match = re.fullmatch(r"(.*)\.lora_([AB])\.weight", name)
        path = modules.get(match[1]) if match else None
        if path is None:
            unread.append(name)
            continue
        factor = diffusers.from_foreign(path, value.astype(np.float32))
        if match[2] == "B":
            factor = scale(match[1], factor.shape[-2]) * factor.reshape(factor.shape[-2:])
        factors_of.setdefault(path, {})[match[2].lower()] = factor
    halves = sorted(_dotted(path) for path, pair in factors_of.items() if len(pair) < 2)
    if unread or halves:
        raise ValueError(
            f"{file} does not fit: unread {sorted(unread)}; one factor only of {halves}; expected are lora_A and "
            "lora_B of the model's UNet and text encoder, as diffusers' save_lora_weights writes them"
        )
    return unflatten_dict(factors_of)


def _scales(file: Path) -> Callable[[str, int], float]:
    """(module, rank) -> the factor by which peft scales the update of that module."""
    with safe_open(file, "numpy") as content:
        settings = json.loads((content.metadata() or {}).get(_SETTINGS, "{}"))

    def scale(module: str, rank: int) -> float:
        network, _, inner = module.partition(".")
        setting = lambda name, otherwise: settings.get(f"{network}.{name}", otherwise)
        special = setting("alpha_pattern", {}).items()
        alphas = [alpha for pattern, alpha in special if re.match(rf"(.*\.)?({pattern})$", inner)]
        alpha = (*alphas, setting("lora_alpha", rank))[0]
        return alpha / (math.sqrt(rank) if setting("use_rslora", False) else rank)

    return scale


def _pairs(factors: Mapping[str, Any]) -> dict[tuple[str | int, ...], tuple[np.ndarray, np.ndarray]]:
    """{path of a kernel: (a, b)}."""
    flat = flatten_dict(factors, is_leaf=lambda path, value: set(value) == {"a", "b"})
    return {path: (np.asarray(pair["a"]), np.asarray(pair["b"])) for path, pair in flat.items()}


def _module(path: tuple[str | int, ...]) -> str:
    """The name, with its network, of the layer whose kernel is at `path`."""
    network, *inner = path
    return f"{network}.{diffusers.foreign_name(tuple(inner), NAMES[network])}".removesuffix(".weight")


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))
