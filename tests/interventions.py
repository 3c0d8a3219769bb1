"""Attributes of phantom subjects under an intervention, without their images."""

import jax.numpy as jnp

from prism_jax.data.phantom import ATTRIBUTES, Equations, Exogenous
from prism_jax.data.phantom.equations import intervene


def attributes(u: Exogenous, equations: Equations, do: dict | None = None, mode: str = "graph") -> dict:
    """The attributes that the equations give to the noise `u`."""
    do = do or {}
    kinds = {name: jnp.float32 if name == "age" else jnp.int32 for name in ATTRIBUTES}
    given = {name: jnp.asarray(do.get(name, 0)).astype(kind) for name, kind in kinds.items()}
    return intervene(u, equations, given, {name: name in do for name in ATTRIBUTES}, mode == "surgical")
