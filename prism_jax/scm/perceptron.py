"""Small networks that compute a mechanism's parameters from the encoded parents; their weights are plain pytrees."""

import dataclasses
from functools import partial
from itertools import pairwise
from typing import Literal

import jax
import jax.numpy as jnp

ACTIVATIONS = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "sigmoid": jax.nn.sigmoid,
}
Layers = tuple[dict[str, jax.Array], ...]  # of {"kernel": [in, out], "bias": [out]}


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerceptronConfig:
    """Widths of the hidden layers (none: an affine map) and their activation."""

    hidden: tuple[int, ...] = ()
    activation: Literal["gelu", "sigmoid"] = "gelu"

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r} is not known; use one of {', '.join(ACTIVATIONS)}")


def init(config: PerceptronConfig, key: jax.Array, inputs: int, outputs: int) -> Layers:
    """Initial parameters; without inputs only the last bias has an effect."""
    shapes, layers = list(pairwise((inputs, *config.hidden, outputs))), []
    for own, shape in zip(jax.random.split(key, len(shapes)), shapes, strict=True):
        bound = 1 / max(shape[0], 1) ** 0.5
        kernel = jax.random.uniform(own, shape, minval=-bound, maxval=bound)
        layers.append({"kernel": kernel, "bias": jnp.zeros(shape[1])})
    return tuple(layers)


def apply(config: PerceptronConfig, layers: Layers, x: jax.Array) -> jax.Array:
    """Maps `x [b, in]` to `[b, out]`."""
    for i, layer in enumerate(layers):
        if i:
            x = ACTIVATIONS[config.activation](x)
        x = x @ layer["kernel"] + layer["bias"][None]
    return x
