"""How much an edit changes inside a mask and outside it, where no truth is needed. NumPy, on the host."""

import dataclasses

import numpy as np

from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChangeMetrics:
    """Change of edits against their reconstructions, [n] each; NaN where a region, or the whole change, is empty."""

    inside: np.ndarray  # mean absolute change, grey levels
    outside: np.ndarray
    share_inside: np.ndarray  # of the sum of absolute changes
    area: np.ndarray  # of the mask, share of the pixels: what `share_inside` is if a change knows nothing of it
    patients: np.ndarray

    @classmethod
    def of(
        cls, reconstruction: np.ndarray, edited: np.ndarray, mask: np.ndarray, *, patients: np.ndarray
    ) -> "ChangeMetrics":
        """Measures a batch: images uint8 [b, h, w], `mask` bool [b, h, w] of an anatomy, a device, or a finding.

        Raises:
          ValueError: other types or shapes.
        """
        shapes = [np.shape(array) for array in (reconstruction, edited, mask)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 3 or len(patients) != shapes[0][0]:
            raise ValueError(f"reconstruction, edit and mask have the shapes {shapes}; give [b, h, w] and b patients")
        kinds = [array.dtype for array in (reconstruction, edited, mask)]
        if kinds != [np.uint8, np.uint8, bool]:
            raise ValueError(f"reconstruction, edit and mask are {kinds}; give uint8, uint8 and bool")
        change = np.abs(edited.astype(np.int16) - reconstruction)  # uint8 differences would wrap
        total = change.sum((1, 2), dtype=np.float64)
        within = np.sum(change, axis=(1, 2), where=mask, dtype=np.float64)
        pixels, covered = mask[0].size if len(mask) else 0, mask.sum((1, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            return cls(
                inside=within / covered,
                outside=(total - within) / (pixels - covered),
                share_inside=within / total,
                area=covered / pixels,
                patients=np.asarray(patients),
            )

    def merge(self, *others: "ChangeMetrics") -> "ChangeMetrics":
        """All edits as one struct, in order."""
        parts = (self, *others)
        names = [field.name for field in dataclasses.fields(self)]
        return ChangeMetrics(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})

    def compute(self, *, config: BootstrapConfig | None = None) -> dict[str, Estimate]:
        """The mean of each with its count of patients and interval."""
        names = ("inside", "outside", "share_inside", "area")
        return {n: bootstrap(np.mean, getattr(self, n), subjects=self.patients, config=config) for n in names}
