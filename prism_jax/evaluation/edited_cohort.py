"""Results of a counterfactuals run: every edit that has images, with the attributes of its patient."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prism_jax import config as configs
from prism_jax.data import schema, targets, transforms
from prism_jax.data.captions import synonyms
from prism_jax.data.loading import pipeline
from prism_jax.data.sources.phantom import PhantomConfig
from prism_jax.data.targets import AGE
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation.counterfactuals.manifest import Manifest
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.subjects import images_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One edit of one image."""

    row: Mapping[str, Any]  # of the manifest
    edit: EditSpec
    attributes: schema.Attributes  # from the data set, whether or not the caption states them

    @property
    def patient(self) -> str:
        return self.row["patient"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cases:
    """All edits of a cohort that have images, in the order of the configuration's edits."""

    config: CounterfactualRun
    manifest: Manifest
    cases: tuple[Case, ...]
    attempts: Mapping[str, Mapping[str, int]]  # edit -> status -> images
    masks: Mapping[str, Mapping[str, np.ndarray]]  # image -> name -> bool [h, w], aligned with the images

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def patients(self) -> np.ndarray:
        """str [n]"""
        return np.array([case.patient for case in self.cases])

    @property
    def images(self) -> np.ndarray:
        """str [n], the ids of images."""
        return np.array([case.row["id"] for case in self.cases])

    @property
    def edits(self) -> tuple[EditSpec, ...]:
        """The edits that have images."""
        names = {case.edit.name for case in self.cases}
        return tuple(edit for edit in self.config.edits if edit.name in names)

    def of(self, edit: EditSpec) -> np.ndarray:
        """int [m], the indices of this edit's cases."""
        return np.array([i for i, case in enumerate(self.cases) if case.edit.name == edit.name], np.int64)

    def pixels(self, kind: str, places: Sequence[int]) -> Iterator[np.ndarray]:
        """The "original", "reconstruction" or "edited" of these cases, uint8 [h, w], one after the other."""
        for i in places:
            yield self.manifest.image(self.cases[i].row[kind])

    def true_images(self, phantom: PhantomConfig) -> Iterator[np.ndarray]:
        """The true counterfactual of every case, uint8 [h, w], in order; that of a negative control is the original."""
        for edit in self.edits:
            numbers = np.array([self.cases[i].row["number"] for i in self.of(edit)])
            yield from ground_truth.true_counterfactuals(numbers, edit, phantom).images

    @property
    def firsts(self) -> np.ndarray:
        """int [m], the index of the first case of each image."""
        return np.unique(self.images, return_index=True)[1]


def read(folder: str | Path) -> Cases:
    """The cases of a finished cohort run.

    Raises:
      ValueError: there is no finished cohort, it has no reconstruction, or its data set is missing.
    """
    folder = Path(folder)
    config = configs.read(folder) if (folder / configs.FILE_NAME).is_file() else None
    if not isinstance(config, CounterfactualRun):
        raise ValueError(f"{folder} is not a cohort run; make one with: prism eval counterfactuals --run {folder}")
    manifest = Manifest(folder, config.output)
    if not manifest.path.is_file():
        raise ValueError(f"{folder} is not finished: no {manifest.path.name}; start prism eval counterfactuals again")
    rows, edits = manifest.rows(), {edit.name: edit for edit in config.edits}
    attempts = {name: collections.Counter(row["status"] for row in rows if row["edit"] == name) for name in edits}
    rows = [row for row in rows if row["reconstruction"] and row["edited"]]
    if not rows:
        raise ValueError(f"{folder} has no edit with a reconstruction; its manifest states why each failed")
    order = {name: place for place, name in enumerate(edits)}
    rows.sort(key=lambda row: order[row["edit"]])  # stable: images stay in their order
    attributes, masks = _known(config, {row["id"] for row in rows}, manifest.image(rows[0]["original"]).shape)
    cases = tuple(Case(row=row, edit=edits[row["edit"]], attributes=attributes[row["id"]]) for row in rows)
    return Cases(config=config, manifest=manifest, cases=cases, attempts=attempts, masks=masks)


def labels(rows: Iterable[schema.Attributes], columns: Sequence[str]) -> np.ndarray:
    """Attributes as numbers: float64 [n, c], 1 and 0 ("sex" is M, "view" is AP), or years of age; NaN if unknown or
    uncertain."""
    return np.array([[_label(attributes, column) for column in columns] for attributes in rows], np.float64)


def _label(attributes: schema.Attributes, column: str) -> float | bool | None:
    if column == AGE:
        return attributes.age
    return targets.state_of(synonyms.find(column, attributes.findings) or column, attributes)


def wanted(case: Case, columns: Sequence[str]) -> dict[str, float]:
    """Intended effects of an edit among `columns`: 1 where it should rise, -1 where it should fall."""
    signs = {}
    for name, value in case.edit.values(case.attributes).items():
        column = synonyms.find(name, columns)
        if column is None or value is None:
            continue  # no judge predicts it, or the edit only stops mentioning it
        if column == AGE:
            signs[column] = float(np.sign(value - case.attributes.age))
        else:
            signs[column] = 1.0 if targets.state_asked(column, value) else -1.0
    return signs


def _known(
    config: CounterfactualRun, ids: set[str], frame: tuple[int, int]
) -> tuple[dict[str, schema.Attributes], dict[str, dict[str, np.ndarray]]]:
    """(Attributes, masks aligned with the network's input of size `frame`) of these images by id."""
    attributes, masks = {}, {}
    if Path(config.data).suffix == ".csv":
        images = images_of(config.data, config.split, config.wording)
        subjects = map(images.subject, range(len(images)))
        attributes = {subject.id: subject.attributes for subject in subjects if subject.id in ids}
    else:
        for example in pipeline.open_split(config.data, config.split):
            if (name := str(example.id)) in ids:
                attributes[name] = example.attributes
                framed = lambda png: transforms.to_input(transforms.decode(png), frame, config.fit, factor=1)
                masks[name] = {key: framed(png)[..., 0] > 0 for key, png in example.masks.items()}
            if len(attributes) == len(ids):
                break
    if missing := sorted(ids - attributes.keys()):
        raise ValueError(f"{config.data} has no image {missing[0]} ({len(missing)} missing); it was rebuilt since")
    return attributes, masks
