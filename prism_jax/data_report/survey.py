"""A survey of a data set: counts, what is missing, what goes together, near duplicates, burned-in marks.

`survey` makes one from a built data set, `write` and `read` keep it as `report.json`; the audit of a model's edits
reads the known associations from there.
"""

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from prism_jax import json_codec
from prism_jax.data.captions.phrases import spoken
from prism_jax.data_report import counts, duplicates, links, scan, variables
from prism_jax.data_report.scan import Seen

FILE_NAME = "report.json"
FORMAT = "prism data report 1"
MOST_PAIRS = 10_000  # near duplicates listed; the search ends there


@dataclasses.dataclass(frozen=True, kw_only=True)
class SurveyConfig:
    """How a data set is surveyed."""

    uncertain: Literal["unknown", "absent", "present"] = "unknown"  # what an uncertain finding counts as in links
    unmentioned: Literal["unknown", "absent"] = "unknown"  # what one counts as that is not mentioned
    level: float = 0.95  # of intervals; links are called at 1 - level, after Holm's correction
    fewest: int = 10  # patients that must have each value of a pair's attributes
    adjust: tuple[Literal["view", "age", "sex"], ...] = ("view", "age", "sex")  # other than the pair's own
    similarity: float = 0.95  # of near duplicates; 0.8 finds crops and turns too, and other pictures of the patient
    shown: int = 24  # pictures of a kind on the page
    threads: int = 2  # that read images and look for duplicates

    def __post_init__(self):
        if self.shown < 1 or self.threads < 1:
            raise ValueError(f"shown {self.shown} and threads {self.threads} must be 1 or more")
        duplicates.check(self.similarity)
        _ = self.coding, self.links  # their own checks

    @property
    def coding(self) -> variables.Coding:
        """How findings count in associations."""
        return variables.Coding(uncertain=self.uncertain, unmentioned=self.unmentioned)

    @property
    def links(self) -> links.LinkConfig:
        """How pairs of attributes are judged."""
        return links.LinkConfig(level=self.level, fewest=self.fewest, adjust=self.adjust)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Duplicate:
    """Two images that are nearly the same picture."""

    ids: tuple[int, int]
    splits: tuple[str, str]
    is_one_patient: bool
    similarity: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Marked:
    """An image with marks suspected."""

    id: int
    split: str
    marks: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
    """All that a data report says; `report.json` holds these fields under these names, NaN as null."""

    data: str  # the folder's name
    built: Mapping[str, Any]  # its build.json: builder and configuration
    config: SurveyConfig
    splits: tuple[counts.SplitCount, ...]  # and "all"
    shared_patients: int  # with images in more than one split
    known: tuple[counts.Known, ...]
    distributions: tuple[counts.Distribution, ...]
    findings: tuple[counts.FindingCount, ...]
    associations: tuple[links.Association, ...]
    duplicates: tuple[Duplicate, ...]
    has_more_duplicates: bool  # the list was cut
    marked: tuple[Marked, ...]

    def between(self, first: str, second: str) -> links.Association:
        """The association of two attributes, in either order, whichever way their names are written.

        Raises:
          ValueError: a name that the survey does not have, or two that exclude each other.
        """
        wanted = {spoken(first), spoken(second)}
        for one in self.associations:
            if {spoken(one.first), spoken(one.second)} == wanted:
                return one
        names = sorted({name for one in self.associations for name in (one.first, one.second)})
        raise ValueError(f"no association of {first!r} with {second!r} in {self.data}; it has {', '.join(names)}")


def survey(folder: str | Path, config: SurveyConfig | None = None) -> tuple[Survey, list[Seen]]:
    """The survey of the data set in `folder`, and its images; progress is shown on stderr.

    Raises:
      ValueError: a folder that is no data set, or an image in it that cannot be read.
    """
    config = config or SurveyConfig()
    total = sum(scan.splits(folder).values())
    with tqdm(total=total, unit="image", desc="reading") as bar:
        images = scan.scan(folder, threads=config.threads, progress=bar.update)
    attributes = [one.attributes for one in images]
    columns = variables.variables(attributes, np.array([one.marks > 0 for one in images]), config.coding)
    with tqdm(total=len(links.pairs(columns)), unit="pair", desc="comparing attributes") as bar:
        adjusters = variables.covariates(attributes, fewest=config.fewest)
        found = links.links(columns, adjusters, scan.patients(images), config.links, progress=bar.update)
    near, has_more = _duplicates(images, config)
    made = Survey(
        data=Path(folder).resolve().name,
        built=_built(folder),
        config=config,
        splits=counts.split_counts(images),
        shared_patients=counts.shared_patients(images),
        known=counts.known(images),
        distributions=counts.distributions(images),
        findings=counts.finding_counts(images, config.coding),
        associations=found,
        duplicates=near,
        has_more_duplicates=has_more,
        marked=tuple(Marked(id=one.id, split=one.split, marks=one.marks) for one in images if one.marks),
    )
    return made, images


def write(made: Survey, path: str | Path) -> None:
    """Writes `report.json`, whole or not at all."""
    json_codec.write({"format": FORMAT} | json_codec.encode(made), path)


def read(path: str | Path) -> Survey:
    """The survey in `path`: a `report.json`, or the folder of `prism data report` that holds one.

    Raises:
      ValueError: no such file, or one that is not a data report of this version.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"no data report {path}; make one with: prism data report FOLDER --out {path.parent}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError(f"it is not of the format {FORMAT!r}")
        return json_codec.decode(Survey, content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a data report that this version reads: {error}") from None


def _duplicates(images: Sequence[Seen], config: SurveyConfig) -> tuple[tuple[Duplicate, ...], bool]:
    """(The first MOST_PAIRS pairs, whether there are more)."""
    fingerprints = np.stack([one.fingerprint for one in images])
    with tqdm(total=len(images), unit="image", desc="looking for near duplicates") as bar:
        pairs = duplicates.near(fingerprints, config.similarity, threads=config.threads, progress=bar.update)
        near = list(itertools.islice(pairs, MOST_PAIRS + 1))
    found = []
    for pair in near[:MOST_PAIRS]:
        one, other = images[pair.first], images[pair.second]
        found.append(
            Duplicate(
                ids=(one.id, other.id),
                splits=(one.split, other.split),
                is_one_patient=one.patient == other.patient != "",
                similarity=round(pair.similarity, 4),
            )
        )
    return tuple(found), len(near) > MOST_PAIRS


def _built(folder: str | Path) -> dict[str, Any]:
    file = Path(folder) / "build.json"
    return json.loads(file.read_text()) if file.is_file() else {}
