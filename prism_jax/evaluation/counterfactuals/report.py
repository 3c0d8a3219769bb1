"""The report of an evaluation: pictures, tables and settings."""

import collections
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prism_jax import report
from prism_jax.evaluation.counterfactuals import gallery
from prism_jax.evaluation.counterfactuals.attention import Maps
from prism_jax.evaluation.counterfactuals.manifest import DONE, FAILED, REFUSED, Manifest
from prism_jax.evaluation.counterfactuals.outcomes import Outcome
from prism_jax.evaluation.edits import EditSpec
from prism_jax.metrics.counterfactual import CounterfactualMetrics
from prism_jax.metrics.image import ImageMetrics
from prism_jax.stats.intervals import Estimate

SAMPLES = 12  # pictures on the data sheet
LEVELS = (0.0, 255.0)


def first_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One row of each subject whose pictures were made."""
    return list({row["id"]: row for row in reversed(rows) if row["reconstruction"]}.values())[::-1]


def edit_rows(
    outcomes: Mapping[str, Sequence[Outcome]],
    shown: int,
    measured: Mapping[str, CounterfactualMetrics],
    words: Maps,
) -> tuple[report.EditRow, ...]:
    """The first `shown` subjects of every change, then its best, median and worst; maps of words where there are."""
    rows = []
    for name, found in outcomes.items():
        picked = [(outcome, "") for outcome in found[:shown]] + gallery.chosen(found, measured.get(name))
        rows += [edit_row(outcome, rank, () if rank else words.get(outcome.key, ())) for outcome, rank in picked]
    return tuple(rows)


def edit_row(outcome: Outcome, rank: str, words: tuple[report.WordMap, ...]) -> report.EditRow:
    """The pictures of one edit, with their errors where the truth is known."""
    return report.EditRow(
        subject=outcome.row["id"],
        edit=outcome.row["edit"],
        source_prompt=outcome.row["source_prompt"],
        edited_prompt=outcome.row["edited_prompt"],
        **{name: outcome.image(name) for name in ("original", "reconstruction", "edited")},
        truth=outcome.truth,
        mask=outcome.mask,
        metrics=_errors(outcome),
        rank=rank,
        words=words,
    )


def _errors(outcome: Outcome) -> dict[str, float]:
    if outcome.truth is None:
        return {"mean change, levels": outcome.row["mean_change"]}
    found = outcome.measured()
    return {
        "error inside, levels": float(found.edit_inside[0]),
        "without the edit": float(found.reconstruction_inside[0]),
        "error outside, levels": float(found.edit_outside[0]),
        "outside, without": float(found.reconstruction_outside[0]),
    }


def samples(manifest: Manifest, subjects: Sequence[Mapping[str, Any]]) -> tuple[report.Sample, ...]:
    """The data sheet: the first subjects that were edited."""
    return tuple(
        report.Sample(image=manifest.image(row["original"]), caption=row["source_prompt"], group="Images edited")
        for row in subjects[:SAMPLES]
    )


def fidelity(manifest: Manifest, subjects: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Estimate]]:
    """How well the VAE alone, and the inversion, give back the originals."""
    stacked = lambda name: np.stack([manifest.image(row[name]) for row in subjects])[..., None].astype(np.float32)
    original = stacked("original")
    names = {"VAE alone": "autoencoded", "Reconstruction by inversion": "reconstruction"}
    patients = [row["patient"] for row in subjects]
    return {
        label: ImageMetrics.of(stacked(name), original, value_range=LEVELS).compute(subjects=patients)
        for label, name in names.items()
    }


def tables(
    edits: Sequence[EditSpec],
    image_metrics: Mapping[str, Mapping[str, Estimate]],
    measured: Mapping[str, CounterfactualMetrics],
    outcomes: Mapping[str, Sequence[Outcome]],
    *,
    min_closer_fraction: float,
    max_outside_growth: tuple[float, float],
    max_psnr_loss: float,
) -> tuple[report.Table, ...]:
    """Distance to the truth (phantom) or size of the change (real images), and fidelity of the reconstruction."""
    target = image_metrics["VAE alone"]["psnr"].value - max_psnr_loss
    images = report.image_table(
        image_metrics,
        min_psnr={"Reconstruction by inversion": target},
        note="8-bit grey images; L1 in grey levels. Intervals are 95 %, bootstrap over patients.",
    )
    if not measured:
        return _sizes(outcomes), images
    removal, addition = max_outside_growth
    return (
        report.counterfactual_table(
            {name: found.compute() for name, found in measured.items()},
            min_closer_fraction=min_closer_fraction,
            max_outside_growth={edit.name: removal if edit.is_removal else addition for edit in edits},
        ),
        images,
    )


def _sizes(outcomes: Mapping[str, Sequence[Outcome]]) -> report.Table:
    """How much the edits changed, where no truth is known."""
    rows = []
    for name, found in outcomes.items():
        if not found:
            continue  # all were refused, or failed
        pictures = lambda kind, found=found: np.stack([o.image(kind) for o in found]).astype(np.float32)[..., None]
        patients = [o.row["patient"] for o in found]
        change = ImageMetrics.of(pictures("edited"), pictures("reconstruction"), value_range=LEVELS)
        estimates = change.compute(subjects=patients)
        rows.append((name, estimates["l1"], estimates["ssim"]))
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


def summary(rows: Sequence[Mapping[str, Any]], *, is_phantom: bool) -> str:
    """What the page is about, in a paragraph."""
    counts = collections.Counter(row["status"] for row in rows)
    others = ", ".join(f"{counts[status]} {status}" for status in (REFUSED, FAILED) if counts[status])
    without = f" ({others}, see manifest.parquet)" if others else ""
    subjects = len({row["id"] for row in rows})
    start = f"{subjects} images were inverted and edited by text, {counts[DONE]} edits in all{without}. "
    reading = (
        "Every effect is read against the reconstruction, the inverted image sampled back without an edit; the "
        "subjects shown are the first by number, and then those that are called chosen, by what is said beside them. "
    )
    if is_phantom:
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
