"""Inversion of real images and their edits by text."""

from prism_jax.editing.edit import Blend, Edit, EditResult, edit
from prism_jax.editing.inversion import Inversion, invert

__all__ = ["Blend", "Edit", "EditResult", "Inversion", "edit", "invert"]
