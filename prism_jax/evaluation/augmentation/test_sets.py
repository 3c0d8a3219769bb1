"""Test sets of a study, in groups by the target and its confounded companion."""

import dataclasses
from pathlib import Path

import numpy as np

from prism_jax.data import targets, transforms
from prism_jax.data.loading import pipeline
from prism_jax.training import examples
from prism_jax.training.examples import Data


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyTestSet:
    """A held-out split of a data set."""

    name: str
    """Name in the report."""
    folder: str
    """Data set of `prism data build`."""
    split: str = "test"
    gain_at_least: float | None = None
    """Target for the gain in worst-group accuracy of counterfactuals over plain samples; None: no target."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyTestImages:
    """The n images of a test set, in the order of the build."""

    name: str
    images: np.ndarray  # uint8 [n, h, w], grey
    labels: np.ndarray  # float64 [n]: 1 with the target, 0 without, NaN where unknown
    groups: np.ndarray  # float64 [n]: index in `group_names`, NaN where a finding is unknown
    patients: np.ndarray  # str [n]


def group_names(target: str, companion: str) -> tuple[str, str, str, str]:
    """The four groups, in the order of their numbers: 2 with the target, 1 with the companion."""
    return (
        f"neither {target} nor {companion}",
        f"{companion} without {target}",
        f"{target} without {companion}",
        f"{target} and {companion}",
    )


def numbers(labels: np.ndarray) -> np.ndarray:
    """Group of each row of labels [n, 2], of the target and its companion; NaN where one is unknown."""
    return labels.astype(np.float64) @ np.array([2.0, 1.0])


def check(test: StudyTestSet, target: str, companion: str, train: frozenset[str]) -> None:
    """Raises ValueError for test images of training patients, and where one of the four groups is empty."""
    source = pipeline.open_split(test.folder, test.split)
    known = [(example.patient, example.attributes) for example in source]
    if shared := train & {patient for patient, _ in known}:
        raise ValueError(f"{test.folder} {test.split}: {len(shared)} patients are in training too; use other patients")
    counts = group_counts(targets.values([attributes for _, attributes in known], (target, companion)))
    missing = [name for name, count in zip(group_names(target, companion), counts, strict=True) if not count]
    if missing:
        raise ValueError(f"{test.folder} {test.split} has no image with {'; '.join(missing)}; build it larger")


def group_counts(labels: np.ndarray) -> np.ndarray:
    """int [4], of labels [n, 2] of the target and its companion; rows with an unknown finding are in no group."""
    groups = numbers(labels)
    return np.bincount(groups[~np.isnan(groups)].astype(int), minlength=4)


def read(test: StudyTestSet, target: str, companion: str, *, size: int, fit: transforms.Fit) -> StudyTestImages:
    """All images of the split in memory, `size` pixels wide."""
    held = examples.load(Data(folder=test.folder, split=test.split, size=size, fit=fit))
    labels = targets.values(held.attributes, (target, companion))
    return StudyTestImages(
        name=test.name,
        images=held.images,
        labels=labels[:, 0].astype(np.float64),
        groups=numbers(labels),
        patients=held.patients,
    )


def is_built(folder: Path) -> bool:
    """True if the data set is complete: builds are renamed into place."""
    return (folder / "dataset_info.json").is_file()
