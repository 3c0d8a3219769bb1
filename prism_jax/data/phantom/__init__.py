"""Frontal chest X-rays from a known structural causal model, with exact counterfactuals."""

from prism_jax.data.phantom.equations import (
    ATTRIBUTES,
    BINARY,
    Equations,
    Exogenous,
    check_intervention,
    exogenous,
)
from prism_jax.data.phantom.generate import Subjects, change_mask, generate
from prism_jax.data.phantom.geometry import cardiothoracic_ratio
from prism_jax.data.phantom.render import finish, render

__all__ = [
    "ATTRIBUTES",
    "BINARY",
    "Equations",
    "Exogenous",
    "Subjects",
    "cardiothoracic_ratio",
    "change_mask",
    "check_intervention",
    "exogenous",
    "finish",
    "generate",
    "render",
]
