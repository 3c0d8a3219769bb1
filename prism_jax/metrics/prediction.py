"""What a classifier makes of edits: the gain of the wanted prediction, and how many predictions flip. On the host."""

import dataclasses

import numpy as np

from prism_jax.stats.intervals import BootstrapConfig, Estimate, bootstrap, share

CUT = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionGain:
    """A classifier's probabilities of the edited attribute before and after, edit by edit."""

    before: np.ndarray  # float64 [n] in [0, 1], on the reconstruction
    after: np.ndarray  # float64 [n], on the edit
    wanted: np.ndarray  # bool [n], whether the edit was to add the attribute
    patients: np.ndarray  # [n]

    @classmethod
    def of(
        cls, before: np.ndarray, after: np.ndarray, *, wanted: np.ndarray | bool, patients: np.ndarray
    ) -> "PredictionGain":
        """Takes a batch of probabilities [b]; NaN where an edit was not made.

        Raises:
          ValueError: lengths that differ, values that are no probabilities.
        """
        before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
        wanted, patients = np.broadcast_to(np.asarray(wanted, bool), before.shape), np.asarray(patients)
        lengths = [np.shape(column) for column in (before, after, patients)]
        if before.ndim != 1 or len(set(lengths)) > 1:
            raise ValueError(f"before, after and patients have the shapes {lengths}; give one number an edit")
        seen = np.concatenate([before, after])
        if np.any((seen < 0) | (seen > 1)):
            raise ValueError(
                f"predictions reach from {np.nanmin(seen):.4g} to {np.nanmax(seen):.4g}; give probabilities"
            )
        return cls(before=before, after=after, wanted=np.array(wanted), patients=patients)

    def merge(self, *others: "PredictionGain") -> "PredictionGain":
        """All edits as one struct, in order."""
        parts = (self, *others)
        names = [field.name for field in dataclasses.fields(self)]
        return PredictionGain(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})

    @property
    def gain(self) -> np.ndarray:
        """[n] in [-1, 1]: how far the probability moved the way it should."""
        return np.where(self.wanted, 1.0, -1.0) * (self.after - self.before)

    @property
    def flipped(self) -> np.ndarray:
        """[n]: 1 where the prediction came to the wanted side of 0.5, 0 where not, NaN where it was there before."""
        on_side = [np.where(self.wanted, p >= CUT, p < CUT) for p in (self.before, self.after)]
        unknown = on_side[0] | np.isnan(self.before) | np.isnan(self.after)
        return np.where(unknown, np.nan, on_side[1].astype(float))

    def compute(self, *, config: BootstrapConfig | None = None) -> dict[str, Estimate]:
        """`prediction_gain` (PRISM's: the size of the change, either way), `gain` towards what is wanted, `flipped`.

        `already` is the share whose prediction was on the wanted side before: they cannot flip and are not counted.
        """
        options = dict(subjects=self.patients, config=config)
        level = (config or BootstrapConfig()).level
        already = np.where(np.isnan(self.before) | np.isnan(self.after), np.nan, np.isnan(self.flipped))
        return {
            "prediction_gain": bootstrap(np.mean, np.abs(self.gain), **options),
            "gain": bootstrap(np.mean, self.gain, **options),
            "flipped": share(self.flipped, subjects=self.patients, level=level),
            "already": share(already, subjects=self.patients, level=level),
        }
