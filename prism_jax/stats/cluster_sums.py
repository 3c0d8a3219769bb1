"""Per-patient sums of every cell, and groups of cells measured in the same patients."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class PatientSums:
    """Sums of P patients in c cells, all float64 [P, c]; 0 for a patient without an image in a cell."""

    changes: np.ndarray  # sum of the changes
    images: np.ndarray  # how many images
    levels: np.ndarray  # mean score of the reconstructions; NaN where not measured or unknown

    def columns(self, which: np.ndarray) -> "PatientSums":
        """The cells `which` (indices or bool)."""
        return PatientSums(
            **{field.name: getattr(self, field.name)[:, which] for field in dataclasses.fields(self)},
        )

    def groups(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(Indices of patients, indices of cells) for each set of cells measured in the same patients."""
        _, group = np.unique(self.images > 0, axis=1, return_inverse=True)
        for number in range(group.max(initial=-1) + 1):
            cells = np.flatnonzero(group == number)
            yield np.flatnonzero(self.images[:, cells[0]]), cells


def patient_sums(
    changes: np.ndarray, before: np.ndarray | None, patients: np.ndarray, names: np.ndarray
) -> PatientSums:
    """The sums of `changes` [n, c] (NaN where not measured) and scores `before` of images of `patients` [n].

    `names` [P], sorted, are all patients there are, also those without an image here.
    """
    changes = np.asarray(changes, np.float64)
    owner = np.searchsorted(names, patients)
    measured = ~np.isnan(changes)
    images = _by_patient(measured, owner, len(names))
    levels = np.full(images.shape, np.nan)
    if before is not None:
        total = _by_patient(np.where(measured, before, 0.0), owner, len(names))
        np.divide(total, images, out=levels, where=images > 0)
    return PatientSums(
        changes=_by_patient(np.where(measured, changes, 0.0), owner, len(names)), images=images, levels=levels
    )


def concatenate_cells(all_sums: Sequence[PatientSums]) -> PatientSums:
    """All cells, in order; all `PatientSums` must be of the same patients."""
    return PatientSums(
        **{
            field.name: np.concatenate([getattr(sums, field.name) for sums in all_sums], axis=1)
            for field in dataclasses.fields(PatientSums)
        }
    )


def patient_totals(values: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Sums of the rows of `values` [n, c] over those of each patient, [P, c], patients in sorted order."""
    names, owner = np.unique(patients, return_inverse=True)
    return _by_patient(values, owner, len(names))


def _by_patient(values: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    total = np.zeros((count, values.shape[1]))
    np.add.at(total, owner, values)
    return total
