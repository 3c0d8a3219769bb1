"""Subjects of a cohort: images of a data set or of a CSV, and the edits of each."""

import collections
import csv
import dataclasses
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from prism_jax.data import schema
from prism_jax.data.captions import edit_language
from prism_jax.data.captions.templates import PLAIN, Template
from prism_jax.data.loading import pipeline
from prism_jax.evaluation import model_captions
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.model_captions import Completed
from prism_jax.model_card import CaptionForm

ANY_CAPTION = CaptionForm()
COLUMNS = ("path", "prompt", "id", "patient")  # of a CSV; the last two may be absent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """One image, without its pixels, and its edits as indices into the list of all edits."""

    index: int  # into the images
    id: str  # unique among them
    patient: str
    number: int  # phantom subject, -1 for real images
    attributes: schema.Attributes
    wording: Template = PLAIN
    edits: tuple[int, ...] = ()

    @property
    def prompt(self) -> str:
        return self.wording.describe(self.attributes)


class Images(Protocol):
    """Source of subjects and their encoded images."""

    def __len__(self) -> int: ...

    def subject(self, index: int) -> Subject:
        """The attributes of image `index`, without edits."""

    def read(self, index: int) -> bytes:
        """The encoded image; raises OSError or ValueError if it cannot be read."""


def images_of(data: str | Path, split: str, wording: Template = PLAIN, form: CaptionForm = ANY_CAPTION) -> Images:
    """The images of a built data set's split, or of a CSV file; their captions are in this wording.

    Captions of a CSV are completed to the `form` of a model's captions.
    """
    if Path(data).suffix == ".csv":
        return ListedImages.read_csv(Path(data), wording, form)
    return BuiltImages(data, split, wording)


class BuiltImages:
    """The examples of one split of a data set. A class because it holds the opened files."""

    def __init__(self, folder: str | Path, split: str, wording: Template):
        self._examples, self._wording = pipeline.open_split(folder, split), wording

    def __len__(self) -> int:
        return len(self._examples)

    def subject(self, index: int) -> Subject:
        example = self._examples[index]
        fields = dict(patient=example.patient, number=example.subject, attributes=example.attributes)
        return Subject(index=index, id=str(example.id), wording=self._wording, **fields)

    def read(self, index: int) -> bytes:
        return self._examples[index].image


@dataclasses.dataclass(frozen=True)
class ListedImages:
    """Image files listed in a CSV with the columns path (relative to the CSV), prompt, and optionally id and
    patient."""

    folder: Path
    rows: Sequence[dict[str, str]]
    wording: Template
    form: CaptionForm = ANY_CAPTION

    @classmethod
    def read_csv(cls, file: Path, wording: Template, form: CaptionForm = ANY_CAPTION) -> "ListedImages":
        """Reads the CSV; ValueError for missing or unknown columns, prompts that are no captions, and repeated ids.

        Prints on stderr the findings that are assumed to be absent because captions do not state them.
        """
        if not file.is_file():
            raise ValueError(f"{file} is missing; give a CSV with the columns {', '.join(COLUMNS)}")
        with file.open(newline="", encoding="utf-8") as lines:
            reader = csv.DictReader(lines)
            columns, rows = tuple(reader.fieldnames or ()), list(reader)
        missing = [name for name in ("path", "prompt") if name not in columns]
        unknown = [name for name in columns if name not in COLUMNS]
        if missing or unknown:
            raise ValueError(f"{file}: missing columns {missing}, unknown columns {unknown}; use {', '.join(COLUMNS)}")
        images = cls(folder=file.parent, rows=rows, wording=wording, form=form)
        line_of: dict[str, int] = {}
        for i in range(len(rows)):
            try:
                subject = images.subject(i)
            except ValueError as error:
                raise ValueError(f"{file}, line {i + 2}: {error}") from error
            if not re.fullmatch(r"[\w.=-]+", subject.id):
                raise ValueError(
                    f"{file}, line {i + 2}: id {subject.id!r} is not a valid file name; use letters, digits and _.=-"
                )
            if subject.id in line_of:
                raise ValueError(f"{file}, line {i + 2}: id {subject.id!r} is also in line {line_of[subject.id]}")
            line_of[subject.id] = i + 2
        assumed = Counter(name for i in range(len(rows)) for name in images._completed(i).assumed)
        if assumed:
            counts = ", ".join(f"{name} ({count} captions)" for name, count in assumed.items())
            print(f"{file}: assumed absent where the caption does not state it: {counts}", file=sys.stderr)
        return images

    def __len__(self) -> int:
        return len(self.rows)

    def subject(self, index: int) -> Subject:
        row = self.rows[index]
        name = row.get("id") or re.sub(r"[^\w.=-]+", "-", row["path"])
        fields = dict(attributes=self._completed(index).attributes, wording=self.wording)
        return Subject(index=index, id=name, patient=row.get("patient") or name, number=-1, **fields)

    def _completed(self, index: int) -> Completed:
        return model_captions.complete(self.wording.parse(self.rows[index]["prompt"]), self.form)

    def read(self, index: int) -> bytes:
        return (self.folder / self.rows[index]["path"]).read_bytes()


def choose(
    images: Images, edits: Sequence[EditSpec], subjects_per_edit: int | None, *, once: bool = False
) -> list[Subject]:
    """The first `subjects_per_edit` subjects (None: all) to which each edit applies, in the order of the images.

    Every subject with an edit also gets the negative controls, so that each edit has its own noise floor.

    Args:
      once: each subject gets only one edit: of those that apply, the one that still needs most subjects.

    Raises:
      ValueError: an edit that applies to no image, or only negative controls.
    """
    controls = [k for k, edit in enumerate(edits) if edit.is_negative_control]
    left = {k: subjects_per_edit or len(images) for k in range(len(edits)) if k not in controls}
    if not left:
        raise ValueError(
            f"{', '.join(edits[k].name for k in controls)}: only negative controls; add at least one other edit"
        )
    unused = set(range(len(edits)))
    chosen = []
    for i in range(len(images)):
        if not any(left.values()):
            break
        subject = images.subject(i)
        wanted = [k for k in left if left[k] and edits[k].applies(subject.attributes)]
        if once and wanted:
            wanted = [max(wanted, key=left.get)]
        for k in wanted:
            left[k] -= 1
        if wanted:
            wanted += [k for k in controls if edits[k].applies(subject.attributes)]
            unused -= set(wanted)
            chosen.append(dataclasses.replace(subject, edits=tuple(wanted)))
    if unused:
        raise ValueError("; ".join(why_unused(images, edits[k]) for k in sorted(unused)))
    return chosen


def why_unused(images: Images, edit: EditSpec) -> str:
    """The reason why an edit applies to none of the images, from the attributes that their captions state."""
    if edit.is_negative_control:
        return f"no image for the edit {edit.name!r}: every caption contains these words already"
    attributes = [images.subject(i).attributes for i in range(len(images))]
    for part in edit_language.parse(edit.edit):
        stated = [each for each in attributes if part.is_known(each)]
        if any(part.has_effect(each) for each in stated):
            continue  # this part can be applied: the reason is another part
        state = "absent" if part.value is True else "present"
        wanted = f"{part.name} {state}" if isinstance(part.value, bool) else f"another {part.name}"
        return (
            f"no image for the edit {edit.name!r}: none of {len(attributes)} captions states {wanted} "
            f"({len(stated)} state {part.name} at all)"
        )
    return f"no image for the edit {edit.name!r}: no caption fits all of its parts"


def drawn(patients: Sequence[str], count: int, *, seed: int = 0) -> list[int]:
    """Indices of `count` images drawn at random over `patients` [n]; a patient is drawn twice only if there are too few
    patients."""
    order = np.random.default_rng(seed).permutation(len(patients))
    counts: collections.Counter[str] = collections.Counter()
    rounds = []
    for i in order:
        rounds.append((counts[patients[i]], int(i)))
        counts[patients[i]] += 1
    return [i for _, i in sorted(rounds, key=lambda pair: pair[0])[:count]]
