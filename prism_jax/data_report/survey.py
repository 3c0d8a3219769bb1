"""A survey of a data set: counts, completeness, pairwise associations, near duplicates, burned-in text.

`survey` makes one from a built data set, `write` and `read` keep it as `report.json`; the audit of a model's edits
reads the associations of the data from there.
"""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prism_jax import json_codec
from prism_jax.data.captions.phrases import spoken
from prism_jax.data.schema import Attributes
from prism_jax.data_report import counts, duplicates, pairwise_associations, scan, variables
from prism_jax.data_report.pairwise_associations import Association
from prism_jax.data_report.scan import ImageRecord

FILE_NAME = "report.json"
FORMAT = "prism data report 1"
MAX_PAIRS = 10_000  # near duplicates listed; the search ends there
# Keys of reports written before they were renamed, and today's.
RENAMED = {
    "known": "completeness",
    "marked": "burned_in_text",
    "marks": "text_boxes",
    "fewest": "min_patients",
    "shown": "max_images",
    "is_linked": "is_significant",
    "is_linked_adjusted": "is_significant_adjusted",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurveyConfig:
    """Settings of a survey."""

    uncertain: Literal["unknown", "absent", "present"] = "unknown"  # uncertain findings count as this
    unmentioned: Literal["unknown", "absent"] = "unknown"  # the same for unmentioned ones; "absent" suits mined labels
    level: float = 0.95  # of intervals; significant is a Holm-corrected p of at most 1 - level
    min_patients: int = 10  # with each value of both attributes; pairs with fewer are not compared
    adjust: tuple[Literal["view", "age", "sex"], ...] = ("view", "age", "sex")  # covariates
    similarity: float = 0.95  # of near duplicates; 0.8 also finds crops and rotations, and other images of the patient
    max_images: int = 24  # images of each kind on the page
    threads: int = 2  # that read images and search for duplicates

    def __post_init__(self):
        if self.max_images < 1 or self.threads < 1:
            raise ValueError(f"max_images {self.max_images} and threads {self.threads} must be 1 or more")
        duplicates.check(self.similarity)
        if not 0 < self.level < 1:
            raise ValueError(f"level must be between 0 and 1, for example 0.95, got {self.level}")
        if self.min_patients < 2:
            raise ValueError(f"min_patients must be at least 2, got {self.min_patients}")
        if unknown := sorted(set(self.adjust) - {"view", "age", "sex"}):
            raise ValueError(f"cannot adjust for {', '.join(unknown)}; adjust for any of view, age, sex")

    def code(self, attributes: Attributes, finding: str) -> float:
        """A finding in associations: 1 present, 0 absent, NaN unknown."""
        states = {True: "present", False: "absent", None: self.uncertain}
        state = states[attributes.findings[finding]] if finding in attributes.findings else self.unmentioned
        return {"present": 1.0, "absent": 0.0, "unknown": np.nan}[state]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Duplicate:
    """Two images that are nearly identical."""

    ids: tuple[int, int]
    splits: tuple[str, str]
    is_one_patient: bool
    similarity: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageWithText:
    """An image with suspected burned-in text."""

    id: int
    split: str
    text_boxes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
    """The content of a data report; `report.json` holds these fields under these names, NaN as null."""

    data: str  # the folder's name
    built: Mapping[str, Any]  # its build.json: builder and configuration
    config: SurveyConfig
    splits: tuple[counts.SplitCount, ...]  # and "all"
    shared_patients: int  # with images in more than one split
    completeness: tuple[counts.Completeness, ...]
    distributions: tuple[counts.Distribution, ...]
    findings: tuple[counts.FindingCount, ...]
    associations: tuple[Association, ...]
    duplicates: tuple[Duplicate, ...]
    has_more_duplicates: bool  # the list was cut
    burned_in_text: tuple[ImageWithText, ...]

    def between(self, first: str, second: str) -> Association:
        """The association of two attributes, in either order, compared as captions spell them.

        Raises:
          ValueError: a name that the survey does not have, or two that exclude each other.
        """
        wanted = {spoken(first), spoken(second)}
        for pair in self.associations:
            if {spoken(pair.first), spoken(pair.second)} == wanted:
                return pair
        names = sorted({name for pair in self.associations for name in (pair.first, pair.second)})
        raise ValueError(f"no association of {first!r} with {second!r} in {self.data}; it has {', '.join(names)}")


def survey(folder: str | Path, config: SurveyConfig | None = None) -> tuple[Survey, list[ImageRecord]]:
    """The survey of the data set in `folder`, and its images; progress is shown on stderr.

    Raises:
      ValueError: a folder that is no data set, or an image in it that cannot be read.
    """
    config = config or SurveyConfig()
    images = scan.scan(folder, threads=config.threads)
    attributes = [image.attributes for image in images]
    columns = variables.variables(attributes, np.array([image.text_boxes > 0 for image in images]), config.code)
    associations = pairwise_associations.measure_all(
        columns,
        variables.covariates(attributes, min_images=config.min_patients),
        scan.patients(images),
        level=config.level,
        min_patients=config.min_patients,
        adjust=config.adjust,
    )
    near, has_more = _duplicates(images, config)
    build_file = Path(folder) / "build.json"
    result = Survey(
        data=Path(folder).resolve().name,
        built=json.loads(build_file.read_text()) if build_file.is_file() else {},
        config=config,
        splits=counts.split_counts(images),
        shared_patients=counts.shared_patients(images),
        completeness=counts.completeness(images),
        distributions=counts.distributions(images),
        findings=counts.finding_counts(images, config.code),
        associations=associations,
        duplicates=near,
        has_more_duplicates=has_more,
        burned_in_text=tuple(
            ImageWithText(id=image.id, split=image.split, text_boxes=image.text_boxes)
            for image in images
            if image.text_boxes
        ),
    )
    return result, images


def write(survey: Survey, path: str | Path) -> None:
    """Writes `report.json` atomically."""
    json_codec.write({"format": FORMAT} | json_codec.encode(survey), path)


def read(path: str | Path) -> Survey:
    """The survey in `path`: a `report.json`, or the folder of `prism data report` that holds one.

    Raises:
      ValueError: no such file, or one that is not a data report of this version.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        out = path.parent if path.suffix == ".json" else path
        raise ValueError(f"no data report {path}; make one with: prism data report DATA --out {out}")
    try:
        with_new_names = lambda pairs: {RENAMED.get(key, key): value for key, value in pairs}
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=with_new_names)
        if content.pop("format") != FORMAT:
            raise ValueError(f"it is not of the format {FORMAT!r}")
        return json_codec.decode(Survey, content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a data report of this version: {error}") from None


def _duplicates(images: Sequence[ImageRecord], config: SurveyConfig) -> tuple[tuple[Duplicate, ...], bool]:
    """(The first MAX_PAIRS pairs, whether there are more)."""
    fingerprints = np.stack([image.fingerprint for image in images])
    pairs = duplicates.near(fingerprints, config.similarity, threads=config.threads)
    near = [(images[a], images[b], similarity) for a, b, similarity in itertools.islice(pairs, MAX_PAIRS + 1)]
    listed = tuple(
        Duplicate(
            ids=(first.id, second.id),
            splits=(first.split, second.split),
            is_one_patient=first.patient == second.patient != "",
            similarity=round(similarity, 4),
        )
        for first, second, similarity in near[:MAX_PAIRS]
    )
    return listed, len(near) > MAX_PAIRS
