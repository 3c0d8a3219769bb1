"""Subjects of a cohort: images of a data set or of a CSV, and the edits of each."""

import csv
import dataclasses
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from prism_jax.data import schema
from prism_jax.data.captions import edit_language
from prism_jax.data.captions.templates import PLAIN, Template
from prism_jax.data.loading import pipeline
from prism_jax.evaluation import model_captions
from prism_jax.evaluation.edits import EditSpec
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images:
    """Source of subjects and their encoded images."""

    count: int
    subject: Callable[[int], Subject]
    """The attributes of an image, without edits."""
    read: Callable[[int], bytes]
    """The encoded image; raises OSError or ValueError if it cannot be read."""

    def __len__(self) -> int:
        return self.count


def images_of(data: str | Path, split: str, wording: Template = PLAIN, form: CaptionForm = ANY_CAPTION) -> Images:
    """The images of a built data set's split, or of a CSV file; their captions are in this wording.

    A CSV has the columns path (relative to it), prompt, and optionally id and patient. Its captions are completed to
    the `form` of a model's captions; those findings that are assumed to be absent are printed on stderr.

    Raises:
      ValueError: a CSV with missing or unknown columns, prompts that are no captions, or repeated ids.
    """
    if Path(data).suffix == ".csv":
        return _listed(Path(data), wording, form)
    examples = pipeline.open_split(data, split)

    def subject(index: int) -> Subject:
        example = examples[index]
        fields = dict(patient=example.patient, number=example.subject, attributes=example.attributes)
        return Subject(index=index, id=str(example.id), wording=wording, **fields)

    return Images(count=len(examples), subject=subject, read=lambda index: examples[index].image)


def _listed(file: Path, wording: Template, form: CaptionForm) -> Images:
    rows, subjects = _rows(file), []
    assumed: Counter[str] = Counter()
    line_of: dict[str, int] = {}
    for i, row in enumerate(rows):
        try:
            attributes, added = model_captions.complete(wording.parse(row["prompt"]), form)
        except ValueError as error:
            raise ValueError(f"{file}, line {i + 2}: {error}") from error
        name = row.get("id") or slug(row["path"])
        if not re.fullmatch(r"[\w.=-]+", name):
            raise ValueError(
                f"{file}, line {i + 2}: id {name!r} is not a valid file name; use letters, digits and _.=-"
            )
        if name in line_of:
            raise ValueError(f"{file}, line {i + 2}: id {name!r} is also in line {line_of[name]}")
        line_of[name] = i + 2
        assumed.update(list(added))
        fields = dict(attributes=attributes, wording=wording, number=-1)
        subjects.append(Subject(index=i, id=name, patient=row.get("patient") or name, **fields))
    if assumed:
        counts = ", ".join(f"{name} ({count} captions)" for name, count in assumed.items())
        print(f"{file}: assumed absent where the caption does not state it: {counts}", file=sys.stderr)
    read = lambda index: (file.parent / rows[index]["path"]).read_bytes()
    return Images(count=len(rows), subject=subjects.__getitem__, read=read)


def _rows(file: Path) -> list[dict[str, str]]:
    if not file.is_file():
        raise ValueError(f"{file} is missing; give a CSV with the columns {', '.join(COLUMNS)}")
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        columns, rows = tuple(reader.fieldnames or ()), list(reader)
    missing = [name for name in ("path", "prompt") if name not in columns]
    unknown = [name for name in columns if name not in COLUMNS]
    if missing or unknown:
        raise ValueError(f"{file}: missing columns {missing}, unknown columns {unknown}; use {', '.join(COLUMNS)}")
    return rows


def choose(
    images: Images, edits: Sequence[EditSpec], subjects_per_edit: int | None, *, once: bool = False
) -> list[Subject]:
    """The first `subjects_per_edit` subjects (None: all) to which each edit applies, in the order of the images.

    Every subject with an edit also gets the negative controls, so that each edit has its own noise floor.

    Args:
      once: each subject gets only one edit: of those that apply, the one that still needs most subjects.

    Raises:
      ValueError: no subjects are asked for, an edit that applies to no image, or only negative controls.
    """
    if subjects_per_edit is not None and subjects_per_edit < 1:
        raise ValueError(f"subjects_per_edit must be at least 1, or None for all, got {subjects_per_edit}")
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


def slug(name: str) -> str:
    """A name as a file name."""
    return re.sub(r"[^\w.=-]+", "-", name)


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


def drawn(patients: Sequence[str], count: int) -> list[int]:
    """Indices of `count` images drawn at random over `patients` [n]; a patient is drawn twice only if there are too few
    patients."""
    turns, earlier = {}, Counter()  # how often the patient was drawn before
    for i in np.random.default_rng(0).permutation(len(patients)).tolist():
        turns[i] = earlier[patients[i]]
        earlier[patients[i]] += 1
    return sorted(turns, key=turns.get)[:count]
