"""Counterfactuals of a data set: `python -m eval.counterfactuals --config configs/NAME.py [--section.option value]`.

Inverts held-out images, makes the edits, measures them (against the truth, on the phantom) and writes `report.html`
and `metrics.json` into the run folder. A stopped run goes on where it was.
"""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from eval import page, truth
from eval.changes import Change, Subject, choose
from eval.cohort import Outcome, counterfactuals
from prism_jax import StableDiffusion, program, report
from prism_jax import config as configs
from prism_jax.data import pipeline, transforms
from prism_jax.metrics.counterfactual import CounterfactualMetrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inversion:
    """Options of `editing.invert`."""

    method: str = "null_text"
    steps: int = 50
    guidance: float = 7.5
    inner_steps: int = 10
    tolerance: float = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class CounterfactualRun:
    """Everything a run of this program depends on."""

    run: str = "runs/counterfactuals"
    title: str = "Counterfactual chest X-rays"
    model: str = "model"
    """Diffusers folder."""
    data: str = "data/phantom"
    """Folder that `prism data build` made."""
    split: str = "test"
    fit: transforms.Fit = "pad"
    changes: tuple[Change, ...] = ()
    per_change: int = 64
    """Subjects of each change: the first it applies to."""
    shown: int = 4
    """Subjects of each change in the report's pictures: the first by number."""
    batch_size: int = 8
    inversion: Inversion = Inversion()
    dtype: jnp.dtype = jnp.dtype("float32")
    """Of the networks; float32 also on GPUs for null_text."""
    training: str | None = None
    """Run folder of the training, for its curve."""
    closer_at_least: float = 0.8
    """Share of subjects whose edit should be closer to the truth, inside the mask, than the reconstruction."""
    growth_at_most: tuple[float, float] = (1.5, 2.0)
    """Largest growth of the error outside the mask, when a finding is taken away and when it is added."""
    psnr_loss_at_most: float = 1.0
    """Of the reconstruction against the VAE's own, in dB."""


def main(config: CounterfactualRun) -> None:
    """Runs the evaluation in the folder `config.run`."""
    if not config.changes:
        raise ValueError("changes is empty; name at least one Change in the configuration")
    run = Path(config.run)
    phantom = truth.phantom_config(config.data)
    subjects = choose(pipeline.open_split(config.data, config.split), config.changes, config.per_change)
    sd = StableDiffusion.from_pretrained(config.model, dtype=config.dtype)
    keep(config, run)
    made = list(
        counterfactuals(
            sd,
            subjects,
            config.changes,
            run / "batches",
            batch_size=config.batch_size,
            size=sd.size,
            fit=config.fit,
            inversion=dataclasses.asdict(config.inversion),
        )
    )
    outcomes = {change.name: outcomes_of(k, change, made, phantom) for k, change in enumerate(config.changes)}
    document = document_of(config, made, outcomes, is_phantom=phantom is not None)
    report.write(document, run / "report.html")
    write_metrics(document, run / "metrics.json")
    print(
        f"{run / 'report.html'}: {len(subjects)} subjects, {len(config.changes)} kinds of edit",
        file=sys.stderr,
    )


def document_of(
    config: CounterfactualRun, made: list, outcomes: dict[str, list[Outcome]], *, is_phantom: bool
) -> report.Report:
    """The report of what was made."""
    measured = {name: merged(rows) for name, rows in outcomes.items()} if is_phantom else {}
    image_metrics = page.fidelity(made)
    return report.Report(
        title=config.title,
        summary=page.summary(measured, len(made), sum(map(len, outcomes.values()))),
        headline=page.headline(image_metrics, measured),
        subjects=page.edit_rows(config.changes, outcomes, config.shown),
        samples=page.samples(made),
        curves=page.training_curves(config.training),
        tables=page.tables(
            config.changes,
            image_metrics,
            measured,
            outcomes,
            closer_at_least=config.closer_at_least,
            growth_at_most=config.growth_at_most,
            psnr_loss_at_most=config.psnr_loss_at_most,
        ),
        settings=json.loads((Path(config.run) / configs.FILE_NAME).read_text()),
        versions=report.versions(),
    )


def keep(config: CounterfactualRun, run: Path) -> None:
    """Writes config.json; refuses a folder whose batches come from other settings."""
    if (run / configs.FILE_NAME).is_file():
        before = configs.read(run)
        names = ("model", "data", "split", "fit", "changes", "per_change", "batch_size", "inversion", "dtype")
        differing = [name for name in names if getattr(before, name) != getattr(config, name)]
        if differing and any((run / "batches").glob("*.npz")):
            raise ValueError(f"{run} holds results with another {', '.join(differing)}; use another --run or remove it")
    configs.write(config, run)


def outcomes_of(number: int, change: Change, made: list[tuple[Subject, dict[str, Any]]], phantom: Any) -> list[Outcome]:
    """What became of one change, subject by subject, with the truth on phantoms."""
    rows = [(subject, pictures) for subject, pictures in made if number in subject.changes]
    chosen = [{**pictures, "edited": pictures["edited"][subject.changes.index(number)]} for subject, pictures in rows]
    subjects = [subject for subject, _ in rows]
    if phantom is None:
        return [Outcome(subject=s, pictures=p) for s, p in zip(subjects, chosen, strict=True)]
    images, masks = truth.true_counterfactuals(subjects, change, phantom)
    return [
        Outcome(subject=s, pictures=p, truth=t, mask=m)
        for s, p, t, m in zip(subjects, chosen, images, masks, strict=True)
    ]


def merged(rows: list[Outcome]) -> CounterfactualMetrics:
    """The errors of one change over its subjects."""
    first, *rest = (row.measured() for row in rows)
    return first.merge(*rest)


def write_metrics(document: report.Report, file: Path) -> None:
    """The report's tables as JSON, for programs."""
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps([dataclasses.asdict(table) for table in document.tables], indent=2) + "\n")
    os.replace(partial, file)


if __name__ == "__main__":
    sys.exit(program.run(main, CounterfactualRun))
