"""Errors to the true counterfactual, inside and outside the mask of the changed attribute.

Everything is per subject on 8-bit grey images, and reported together with the *reconstruction* (the inverted image
sampled back without an edit), the score of no edit. NumPy, on the host.
"""

import dataclasses

import numpy as np

from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap, wilson

CHANGE_THRESHOLD = 8  # grey levels: above the noise of decoding, below any visible finding


@dataclasses.dataclass(frozen=True, kw_only=True)
class CounterfactualMetrics:
    """Per-subject mean absolute errors to the truth, grey levels [n]; NaN where the region is empty."""

    edit_inside: np.ndarray
    edit_outside: np.ndarray
    reconstruction_inside: np.ndarray
    reconstruction_outside: np.ndarray
    change_iou: np.ndarray  # of |edit - reconstruction| > threshold with the mask

    @classmethod
    def of(
        cls, *, reconstruction: np.ndarray, edited: np.ndarray, truth: np.ndarray, mask: np.ndarray
    ) -> "CounterfactualMetrics":
        """Measures a batch: images uint8 [b, h, w]; `mask` bool [b, h, w], True where the attribute shows."""
        _check(reconstruction=reconstruction, edited=edited, truth=truth, mask=mask)
        truth = truth.astype(np.int16)  # uint8 differences would wrap
        edit_error = np.abs(edited - truth)
        reconstruction_error = np.abs(reconstruction - truth)
        change = np.abs(edited.astype(np.int16) - reconstruction) > CHANGE_THRESHOLD
        return cls(
            edit_inside=_mean_where(edit_error, mask),
            edit_outside=_mean_where(edit_error, ~mask),
            reconstruction_inside=_mean_where(reconstruction_error, mask),
            reconstruction_outside=_mean_where(reconstruction_error, ~mask),
            change_iou=_mean_where(change & mask, change | mask),
        )

    def merge(self, *others: "CounterfactualMetrics") -> "CounterfactualMetrics":
        """All subjects as one struct, in order."""
        names = [field.name for field in dataclasses.fields(self)]
        return CounterfactualMetrics(
            **{name: np.concatenate([getattr(part, name) for part in (self, *others)]) for name in names}
        )

    @property
    def closer(self) -> np.ndarray:
        """bool [n]: inside the mask the edit is strictly closer to the truth than the reconstruction is."""
        return self.edit_inside < self.reconstruction_inside

    @property
    def outside_growth(self) -> np.ndarray:
        """[n]: error outside the mask of the edit over that of the reconstruction; 1 where both are 0."""
        return _ratio(self.edit_outside, self.reconstruction_outside)

    def compute(self, *, config: BootstrapConfig | None = None) -> dict[str, Estimate]:
        """Every measure with its count and interval; errors in grey levels.

        The growth outside is given twice: `outside_growth` is the ratio of the mean errors (many small errors
        cannot hide one ruined subject), `outside_growth_median` the median of the subjects' own ratios.
        """
        means = {
            name: bootstrap(np.mean, getattr(self, name), config=config)
            for name in ("edit_inside", "edit_outside", "reconstruction_inside", "reconstruction_outside", "change_iou")
        }
        measured = ~np.isnan(self.edit_inside)
        level = (config or BootstrapConfig()).level
        return means | {
            "closer": wilson(int(self.closer[measured].sum()), int(measured.sum()), level=level),
            "outside_growth": bootstrap(_ratio_of_means, self.edit_outside, self.reconstruction_outside, config=config),
            "outside_growth_median": bootstrap(np.median, self.outside_growth, config=config),
        }


def _check(*, mask: np.ndarray, **images: np.ndarray) -> None:
    for name, image in images.items():
        if image.dtype != np.uint8:
            raise ValueError(f"{name} is {image.dtype}; 8-bit grey levels (uint8 [b, h, w]) are measured here")
        if image.ndim != 3 or image.shape != mask.shape:
            raise ValueError(f"{name} has shape {image.shape}, the mask {mask.shape}; both must be [b, h, w]")
    if mask.dtype != bool:
        raise ValueError(f"mask is {mask.dtype}; it must be bool, True where the attribute changes the image")


def _mean_where(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean of `values` [b, h, w] over `where`, [b]; NaN where it is empty."""
    total = np.sum(values, axis=(1, 2), where=where, dtype=np.float64)
    return _divide(total, where.sum(axis=(1, 2)))


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, infinite over zero, but 1 where both are zero."""
    return np.where((top == 0) & (bottom == 0), 1.0, _divide(top, bottom))


def _ratio_of_means(top: np.ndarray, bottom: np.ndarray) -> float:
    return float(_ratio(np.mean(top), np.mean(bottom)))


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(top, bottom)
