"""Inversion of real images and their edits by text."""

from prism_jax.editing.edit import Blend, Edit, EditResult, edit
from prism_jax.editing.inversion import Inversion, invert
from prism_jax.editing.predicted_mask import MaskPrediction, predict_mask
from prism_jax.editing.wording import edit_between

__all__ = [
    "Blend",
    "Edit",
    "EditResult",
    "Inversion",
    "MaskPrediction",
    "edit",
    "edit_between",
    "invert",
    "predict_mask",
]
