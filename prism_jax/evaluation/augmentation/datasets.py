"""The images that a study adds to the real ones: one data set per arm, with the split train only."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from prism_jax import StableDiffusion, rng
from prism_jax.atomic import atomic_write
from prism_jax.data import transforms
from prism_jax.data.captions import phrases
from prism_jax.data.loading import pipeline
from prism_jax.data.schema import Attributes
from prism_jax.data.sources.build import build
from prism_jax.data.sources.folder import FolderConfig
from prism_jax.data.sources.ingest import IngestConfig
from prism_jax.data.sources.phantom import PhantomConfig
from prism_jax.evaluation import sampling
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.edited_cohort import Cases
from prism_jax.evaluation.sampling import Samples

TABLE = "metadata.csv"
COLUMNS = ("path", "patient", "sex", "age", "view", "race")
WORDS = {True: "yes", False: "no", None: "uncertain"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One added image: its file in the folder of its arm, and its labels."""

    path: str
    patient: str
    attributes: Attributes


def sampled(cohort: CounterfactualRun, config: Samples, count: int, folder: Path) -> list[Entry]:
    """Samples by the cohort's model of the captions of `count` training images, drawn without replacement."""
    sd = StableDiffusion.from_pretrained(cohort.model, dtype=cohort.dtype)
    train = pipeline.open_split(cohort.data, "train")
    drawn = np.random.default_rng(config.seed).permutation(len(train))[:count].tolist()
    examples = [train[place] for place in drawn]
    prompts = [cohort.wording.describe(example.attributes) for example in examples]
    noise = rng.stream(rng.key(config.seed), "augmentation samples")
    files = sampling.sample(sd, prompts, config, noise, folder)
    return [
        Entry(path=file.name, patient=example.patient, attributes=example.attributes)
        for file, example in zip(files, examples, strict=True)
    ]


def edited(cases: Cases, folder: Path) -> list[Entry]:
    """Every counterfactual that was generated, labelled with the target of its edit."""
    return _write_images(cases, cases.pixels("edited", range(len(cases))), folder)


def true(cases: Cases, phantom: PhantomConfig, folder: Path) -> list[Entry]:
    """The true counterfactuals of the same edits, by the phantom, in the order of `cases`."""
    return _write_images(cases, cases.true_images(phantom), folder)


def build_set(entries: Sequence[Entry], folder: Path, out: Path) -> None:
    """Builds the images in `folder` into the data set `out`: all of them in the split train."""
    findings = tuple(dict.fromkeys(name for entry in entries for name in entry.attributes.findings))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"finding_{i}" for i in range(len(findings))]  # whatever their names
    writer.writerow([*COLUMNS, *columns])
    writer.writerows(_cells(entry, findings) for entry in entries)
    with atomic_write(folder / TABLE) as partial:
        partial.write_text(text.getvalue(), newline="")
    config = FolderConfig(
        csv=TABLE,
        race_column="race",
        findings_column=None,
        flags=tuple(f"{column}={name}" for column, name in zip(columns, findings, strict=True)),
        ingest=IngestConfig(fractions=(1.0, 0.0, 0.0), max_side=None, max_bad=0.0),
    )
    build("folder", folder, out, config)


def _write_images(cases: Cases, images: Iterable[np.ndarray], folder: Path) -> list[Entry]:
    entries = []
    for i, (case, image) in enumerate(zip(cases.cases, images, strict=True)):
        after = phrases.changed(case.attributes, case.edit.values(case.attributes))
        entries.append(Entry(path=f"{i:06d}.png", patient=case.patient, attributes=after))
        with atomic_write(folder / entries[-1].path) as partial:
            partial.write_bytes(transforms.encode_png(image))
    return entries


def _cells(entry: Entry, findings: Sequence[str]) -> Iterator[str]:
    """The cells of a row; unknown ones are empty."""
    attributes = entry.attributes
    yield from (entry.path, entry.patient, attributes.sex or "", "" if attributes.age is None else str(attributes.age))
    yield from (attributes.view or "", attributes.race or "")
    yield from (WORDS[attributes.findings[name]] if name in attributes.findings else "" for name in findings)
