"""One edit that was made: its row of the manifest, its pictures, and the truth on phantoms."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from prism_jax.evaluation.counterfactuals.manifest import Manifest
from prism_jax.metrics.counterfactual import CounterfactualMetrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """One edit that was made: its row of the manifest, and the truth on phantoms."""

    row: Mapping[str, Any]
    manifest: Manifest
    truth: np.ndarray | None = None  # uint8 [h, w]
    mask: np.ndarray | None = None  # bool [h, w]: where the truth differs

    @property
    def key(self) -> tuple[str, str]:
        """Image and edit, which tell outcomes apart."""
        return self.row["id"], self.row["edit"]

    def image(self, name: str) -> np.ndarray:
        """Its "original", "autoencoded", "reconstruction" or "edited", uint8 [h, w]."""
        return self.manifest.image(self.row[name])

    def measured(self) -> CounterfactualMetrics:
        """Its errors inside and outside the mask."""
        images = {name: self.image(name)[None] for name in ("reconstruction", "edited")}
        return CounterfactualMetrics.of(**images, truth=self.truth[None], mask=self.mask[None])
