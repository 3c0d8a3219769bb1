"""Errors of a cohort's edits and reconstructions: against the true counterfactuals (phantom), and the originals."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prism_jax.data.sources.phantom import PhantomConfig
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation.counterfactuals.manifest import DONE, Manifest
from prism_jax.evaluation.edits import EditSpec
from prism_jax.metrics import image as image_metrics
from prism_jax.metrics.counterfactual import CounterfactualMetrics
from prism_jax.stats.intervals import Estimate

LEVELS = (0.0, 255.0)
AUTOENCODER, INVERSION = "VAE alone", "Reconstruction by inversion"  # rows of the table of reconstructions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """One finished edit of one image: its row of the manifest, and the truth on phantoms."""

    row: Mapping[str, Any]
    manifest: Manifest
    truth: np.ndarray | None = None  # uint8 [h, w]
    mask: np.ndarray | None = None  # bool [h, w]: where the truth differs

    @property
    def key(self) -> tuple[str, str]:
        """Image and edit, which identify an outcome."""
        return self.row["id"], self.row["edit"]

    def image(self, name: str) -> np.ndarray:
        """Its "original", "autoencoded", "reconstruction" or "edited", uint8 [h, w]."""
        return self.manifest.image(self.row[name])

    def measured(self) -> CounterfactualMetrics:
        """Its errors inside and outside the mask."""
        images = {name: self.image(name)[None] for name in ("reconstruction", "edited")}
        return CounterfactualMetrics.of(**images, truth=self.truth[None], mask=self.mask[None])


def outcomes(
    manifest: Manifest, edit: EditSpec, rows: Sequence[Mapping[str, Any]], phantom: PhantomConfig | None
) -> list[Outcome]:
    """The finished edits of one kind, image by image, with the truth on phantoms."""
    done = [row for row in rows if row["edit"] == edit.name and row["status"] == DONE]
    truths = masks = [None] * len(done)
    if phantom is not None and done:
        numbers = np.array([row["number"] for row in done])
        truths = ground_truth.true_counterfactuals(numbers, edit, phantom).images
        masks = ground_truth.change_mask(numbers, edit, phantom)
    each = zip(done, truths, masks, strict=True)
    return [Outcome(row=row, manifest=manifest, truth=truth, mask=mask) for row, truth, mask in each]


def merged(outcomes: Sequence[Outcome]) -> CounterfactualMetrics:
    """The errors of one edit over its images."""
    first, *rest = (outcome.measured() for outcome in outcomes)
    return first.merge(*rest)


def fidelity(manifest: Manifest, rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Estimate]]:
    """Reconstruction error of the autoencoder alone, and of the inversion, on the originals of these rows.

    Images that several rows have count once, those without a reconstruction not at all.
    """
    rows = list({row["id"]: row for row in reversed(rows) if row["reconstruction"]}.values())[::-1]
    stacked = lambda name: np.stack([manifest.image(row[name]) for row in rows])[..., None].astype(np.float32)
    original, patients = stacked("original"), [row["patient"] for row in rows]
    return {
        label: image_metrics.compare(stacked(name), original, subjects=patients, value_range=LEVELS)
        for label, name in ((AUTOENCODER, "autoencoded"), (INVERSION, "reconstruction"))
    }


def sizes(outcomes: Sequence[Outcome]) -> dict[str, Estimate]:
    """Difference between edits of one kind and their reconstructions: "l1" in grey levels, "ssim"."""
    stacked = lambda kind: np.stack([outcome.image(kind) for outcome in outcomes]).astype(np.float32)[..., None]
    patients = [outcome.row["patient"] for outcome in outcomes]
    return image_metrics.compare(stacked("edited"), stacked("reconstruction"), subjects=patients, value_range=LEVELS)
