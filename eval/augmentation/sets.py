"""The pictures that a study adds to real ones, each kind as a data set with the one split train."""

import csv
import dataclasses
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from eval import truth
from eval.cases import Cases
from prism_jax import StableDiffusion, rng
from prism_jax.data import captions, transforms
from prism_jax.data.build import build
from prism_jax.data.folder import FolderConfig
from prism_jax.data.intake import Intake
from prism_jax.data.phantom_dataset import PhantomConfig
from prism_jax.data.schema import Attributes, Example
from prism_jax.data.templates import PLAIN, Template
from prism_jax.diffusion import sampling

TABLE = "metadata.csv"
COLUMNS = ("path", "patient", "sex", "age", "view", "race")
WORDS = {True: "yes", False: "no", None: "uncertain"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """How plain synthetic pictures are sampled from captions."""

    steps: int = 20
    guidance: float = 2.0
    sampler: str = "dpm_solver"
    seed: int = 0
    batch_size: int = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One added picture: its file in the folder of its kind, and what it is labelled with."""

    path: str
    patient: str
    attributes: Attributes


def sampled(
    sd: StableDiffusion, train: Sequence[Example], count: int, config: Samples, folder: Path, wording: Template = PLAIN
) -> list[Entry]:
    """Samples of the captions of `count` training images, drawn without replacement; written into `folder`.

    A picture depends on seed, image and settings alone. Those that are there already are kept.
    """
    drawn = np.random.default_rng(config.seed).permutation(len(train))[:count].tolist()
    entries = [_entry(i, train[place].patient, train[place].attributes) for i, place in enumerate(drawn)]
    noise = rng.stream(rng.key(config.seed), "augmentation samples")
    shape = sd.latent_shape(sd.size, sd.size)
    bar = tqdm(total=count, desc="sampling from captions", unit="picture", mininterval=5)
    for start in range(0, count, config.batch_size):
        chosen = range(start, min(start + config.batch_size, count))
        bar.update(len(chosen))
        if all((folder / entries[i].path).is_file() for i in chosen):
            continue
        filled = np.array([*chosen, *[chosen[0]] * (config.batch_size - len(chosen))])  # one shape, one program
        prompts = [wording.describe(entries[i].attributes) for i in filled]
        latents = sampling.initial_latents(noise, jnp.asarray(filled), shape)
        images = sd.sample(prompts, config.steps, config.guidance, latents=latents, sampler=config.sampler)
        pixels = transforms.to_uint8(np.asarray(images.mean(-1)))  # [b, h, w]
        for i, picture in zip(chosen, pixels, strict=False):
            _write(folder / entries[i].path, transforms.encode_png(picture))
    bar.close()
    return entries


def edited(cases: Cases, folder: Path) -> list[Entry]:
    """Every counterfactual that was attempted and has a picture, labelled with what was asked for."""
    return _pictures(cases, cases.pictures("edited", range(len(cases))), folder)


def true(cases: Cases, phantom: PhantomConfig, folder: Path) -> list[Entry]:
    """The same edits as the phantom itself carries them out, in the order of `cases`."""
    pictures = []
    for change in cases.changes:  # the order of cases is that of their changes
        rows = [cases.cases[i].row for i in cases.of(change)]
        pictures += list(truth.true_counterfactuals(rows, change, phantom, cases.config.wording)[0])
    return _pictures(cases, pictures, folder)


def build_set(entries: Sequence[Entry], folder: Path, out: Path) -> None:
    """Builds the pictures in `folder` into the data set `out`: all of them in the split train."""
    findings = tuple(dict.fromkeys(name for entry in entries for name in entry.attributes.findings))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"finding_{i}" for i in range(len(findings))]  # whatever their names
    writer.writerow([*COLUMNS, *columns])
    writer.writerows(_cells(entry, findings) for entry in entries)
    _write(folder / TABLE, text.getvalue().encode())
    config = FolderConfig(
        csv=TABLE,
        race_column="race",
        findings_column=None,
        flags=tuple(f"{column}={name}" for column, name in zip(columns, findings, strict=True)),
        intake=Intake(fractions=(1.0, 0.0, 0.0), max_side=None, max_bad=0.0),
    )
    build("folder", folder, out, config)


def _pictures(cases: Cases, pictures: Iterable[np.ndarray], folder: Path) -> list[Entry]:
    entries = []
    for i, (case, picture) in enumerate(zip(cases.cases, pictures, strict=True)):
        after = captions.changed(case.attributes, case.change.values(case.attributes))
        entries.append(_entry(i, case.patient, after))
        _write(folder / entries[-1].path, transforms.encode_png(picture))
    return entries


def _entry(number: int, patient: str, attributes: Attributes) -> Entry:
    return Entry(path=f"{number:06d}.png", patient=patient, attributes=attributes)


def _cells(entry: Entry, findings: Sequence[str]) -> Iterator[str]:
    """The cells of a row: what is not known is empty."""
    known = entry.attributes
    yield from (entry.path, entry.patient, known.sex or "", "" if known.age is None else str(known.age))
    yield from (known.view or "", known.race or "")
    yield from (WORDS[known.findings[name]] if name in known.findings else "" for name in findings)


def _write(file: Path, content: bytes) -> None:
    """The file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.write_bytes(content)
    os.replace(partial, file)
