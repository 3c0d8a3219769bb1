"""Examples from the phantom; the stored subject number is enough to render the ground truth again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from prism_jax.data import phantom, schema, transforms
from prism_jax.data.sources.ingest import Row

# Subjects of a split start here, so a split keeps its subjects when another one grows.
FIRST_SUBJECT = {"train": 0, "val": 10_000_000, "test": 20_000_000}
FINDINGS = ("cardiomegaly", "effusion", "pacemaker", "support_lines")  # in caption order
CHUNK = 64  # subjects rendered at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """Subjects to render, and their causal model."""

    preset: str = "default"  # of the causal model: default, strong, none, reversed or balanced
    seed: int = 0  # of all subjects
    size: int = 128  # pixels, images are square
    train: int = 2000  # subjects, one image each
    val: int = 200  # subjects
    test: int = 200  # subjects

    def __post_init__(self):
        for split, count in self.counts.items():
            if not 0 <= count <= FIRST_SUBJECT["val"]:
                raise ValueError(f"{split} must be between 0 and {FIRST_SUBJECT['val']} subjects, got {count}")
        phantom.Equations.preset(self.preset)  # a wrong name fails here

    @property
    def counts(self) -> dict[str, int]:
        """Subjects per split."""
        return {"train": self.train, "val": self.val, "test": self.test}


def subjects(split: str, config: PhantomConfig) -> np.ndarray:
    """The subject numbers of a split, int64 [n]."""
    return FIRST_SUBJECT[split] + np.arange(config.counts[split])


def rows(config: PhantomConfig) -> list[Row]:
    """A row for each subject, in order. ValueError where there are none."""
    unknown = schema.Attributes()  # until the subject is drawn
    rows = [
        Row(number=number, line=0, path="", patient=str(number), split=split, attributes=unknown)
        for split in schema.SPLITS
        for number in subjects(split, config).tolist()
    ]
    if not rows:
        raise ValueError("train, val and test are 0: nothing to render")
    return rows


def examples(rows: Sequence[Row], config: PhantomConfig) -> Iterator[schema.Example]:
    """The rendered subjects of `rows`, in order."""
    numbers = np.array([row.number for row in rows])
    equations = phantom.Equations.preset(config.preset)
    for start in range(0, len(numbers), CHUNK):
        chunk = numbers[start : start + CHUNK]
        drawn = phantom.generate(chunk, seed=config.seed, size=config.size, equations=equations)
        for place, number in enumerate(chunk):
            values = {name: column[place] for name, column in drawn.attributes.items()}
            yield schema.Example(
                id=int(number),
                image=transforms.encode_png(drawn.images[place]),
                height=config.size,
                width=config.size,
                patient=str(number),
                path="",
                subject=int(number),
                attributes=attributes_of(values),
            )


def attributes_of(values: dict[str, float]) -> schema.Attributes:
    """Attributes of one phantom subject, from the variables of the structural model."""
    return schema.Attributes(
        age=float(values["age"]),
        sex="M" if values["sex"] else "F",
        view="AP" if values["view"] else "PA",
        findings={name: bool(values[name]) for name in FINDINGS},
    )


def intervention(change: Mapping[str, object]) -> dict[str, float]:
    """A change of attributes, as `phrases.changed` takes it, as variables of the structural model.

    Raises:
      ValueError: an attribute that the phantom does not have, or a value that it cannot have.
    """
    classes = {"sex": ("F", "M"), "view": ("PA", "AP")} | dict.fromkeys(FINDINGS, (False, True))
    do = {}
    for name, value in change.items():
        name = name.replace(" ", "_")  # captions write spaces
        if name != "age" and value not in classes.get(name, ()):
            raise ValueError(f"the phantom cannot have {name} {value!r}; it has {', '.join(('age', *classes))}")
        do[name] = value if name == "age" else classes[name].index(value)
    phantom.check_intervention(do, "surgical")
    return do
