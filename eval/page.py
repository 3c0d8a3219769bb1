"""The report of an evaluation: pictures, tables and settings."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.changes import Change
from eval.cohort import Outcome
from prism_jax import report
from prism_jax.data import captions
from prism_jax.metrics.counterfactual import CounterfactualMetrics
from prism_jax.metrics.image import ImageMetrics
from prism_jax.metrics.intervals import Estimate

SAMPLES = 12  # pictures on the data sheet
LEVELS = (0.0, 255.0)


def edit_rows(changes: Sequence[Change], outcomes: Mapping[str, Sequence[Outcome]], shown: int) -> tuple:
    """The first `shown` subjects of every change, with their errors where the truth is known."""
    rows = []
    for change in changes:
        for outcome in outcomes[change.name][:shown]:
            attributes, pictures = outcome.subject.example.attributes, outcome.pictures
            rows.append(
                report.EditRow(
                    subject=str(outcome.subject.example.id),
                    edit=change.name,
                    source_prompt=captions.describe(attributes),
                    edited_prompt=captions.edited(attributes, {change.attribute: change.value}),
                    original=pictures["original"],
                    reconstruction=pictures["reconstruction"],
                    edited=pictures["edited"],
                    truth=outcome.truth,
                    mask=outcome.mask,
                    metrics=_errors(outcome),
                )
            )
    return tuple(rows)


def _errors(outcome: Outcome) -> dict[str, float]:
    if outcome.truth is None:
        change = np.abs(outcome.pictures["edited"].astype(np.int16) - outcome.pictures["reconstruction"])
        return {"mean change, levels": float(change.mean())}
    found = outcome.measured()
    return {
        "error inside, levels": float(found.edit_inside[0]),
        "without the edit": float(found.reconstruction_inside[0]),
        "error outside, levels": float(found.edit_outside[0]),
        "outside, without": float(found.reconstruction_outside[0]),
    }


def samples(made: Sequence[tuple[Any, Mapping[str, np.ndarray]]]) -> tuple[report.Sample, ...]:
    """The data sheet: the first subjects that were edited."""
    return tuple(
        report.Sample(
            image=pictures["original"],
            caption=captions.describe(subject.example.attributes),
            group="Held-out images",
        )
        for subject, pictures in made[:SAMPLES]
    )


def fidelity(made: Sequence[tuple[Any, Mapping[str, np.ndarray]]]) -> dict[str, dict[str, Estimate]]:
    """How well the VAE alone, and the inversion, give back the originals."""
    stacked = lambda name: np.stack([pictures[name] for _, pictures in made])[..., None].astype(np.float32)
    original = stacked("original")
    names = {"VAE alone": "autoencoded", "Reconstruction by inversion": "reconstruction"}
    patients = [subject.example.patient for subject, _ in made]
    return {
        label: ImageMetrics.of(stacked(name), original, value_range=LEVELS).compute(subjects=patients)
        for label, name in names.items()
    }


def tables(
    changes: Sequence[Change],
    image_metrics: Mapping[str, Mapping[str, Estimate]],
    measured: Mapping[str, CounterfactualMetrics],
    outcomes: Mapping[str, Sequence[Outcome]],
    *,
    closer_at_least: float,
    growth_at_most: tuple[float, float],
    psnr_loss_at_most: float,
) -> tuple[report.Table, ...]:
    """Distance to the truth (phantom) or size of the change (real images), and fidelity of the reconstruction."""
    target = image_metrics["VAE alone"]["psnr"].value - psnr_loss_at_most
    images = report.image_table(
        image_metrics,
        psnr_at_least={"Reconstruction by inversion": target},
        note="8-bit grey images; L1 in grey levels. Intervals are 95 %, bootstrap over patients.",
    )
    if not measured:
        return _sizes(outcomes), images
    removal, addition = growth_at_most
    return (
        report.counterfactual_table(
            {name: found.compute() for name, found in measured.items()},
            closer_at_least=closer_at_least,
            growth_at_most={change.name: addition if change.value else removal for change in changes},
        ),
        images,
    )


def _sizes(outcomes: Mapping[str, Sequence[Outcome]]) -> report.Table:
    """How much the edits changed, where no truth is known."""
    rows = []
    for name, found in outcomes.items():
        edited = np.stack([o.pictures["edited"] for o in found]).astype(np.float32)[..., None]
        source = np.stack([o.pictures["reconstruction"] for o in found]).astype(np.float32)[..., None]
        patients = [o.subject.example.patient for o in found]
        change = ImageMetrics.of(edited, source, value_range=LEVELS).compute(subjects=patients)
        rows.append((name, change["l1"], change["ssim"]))
    note = "Edit against reconstruction, 8-bit grey; no truth is known. Intervals are 95 %, by patient."
    columns = ("Edit", report.Column(name="Mean change", unit="levels"), "SSIM")
    return report.Table(title="Size of the change", columns=columns, rows=tuple(rows), note=note)


def training_curves(run: str | None) -> tuple[report.Curve, ...]:
    """The loss of the training run in folder `run`."""
    if run is None:
        return ()
    log = Path(run) / "metrics.jsonl"
    if not log.is_file():
        raise ValueError(f"no {log}; give the run folder of the training, or none")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    return (report.Curve.of_log(records, title="Training", keys=("loss",), y_label="denoising loss"),)


def summary(measured: Mapping[str, CounterfactualMetrics], subjects: int, edits: int) -> str:
    """What the page is about, in a paragraph."""
    start = f"{subjects} held-out images were inverted and edited by text, {edits} edits in all. "
    reading = (
        "Every effect is read against the reconstruction, the inverted image sampled back without an edit; the "
        "subjects shown are the first by number, not chosen. "
    )
    if measured:
        return (
            start
            + reading
            + (
                "These are drawn X-rays with a known structural causal model, so that every edit has a true "
                "counterfactual: the same patient under the surgical intervention on that one attribute."
            )
        )
    return start + reading + "For real images no truth is known: read the pictures, not only the numbers."


def headline(
    image_metrics: Mapping[str, Mapping[str, Estimate]], measured: Mapping[str, CounterfactualMetrics]
) -> tuple[tuple[str, str], ...]:
    """The figures at the top."""
    psnr = image_metrics["Reconstruction by inversion"]["psnr"].value
    found = [(f"{psnr:.1f} dB", "reconstruction by inversion, PSNR")]
    if measured:
        closer = np.concatenate([m.closer for m in measured.values()])
        found.append((f"{100 * closer.mean():.0f} %", "edits closer to the truth than no edit, inside the mask"))
    return tuple(found)
