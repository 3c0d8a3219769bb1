"""The report of a cohort: errors of its edits and reconstructions, and images of subjects drawn at random."""

import collections
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prism_jax import StableDiffusion, report
from prism_jax.checkpoint import VALIDATION_LOSS
from prism_jax.evaluation import ground_truth, subjects
from prism_jax.evaluation.counterfactuals import gallery, measure
from prism_jax.evaluation.counterfactuals.attention_maps import maps_of_edit
from prism_jax.evaluation.counterfactuals.manifest import DONE, FAILED, REFUSED, Manifest
from prism_jax.evaluation.counterfactuals.measure import AUTOENCODER, INVERSION, Outcome
from prism_jax.metrics.counterfactual import CounterfactualMetrics
from prism_jax.stats.intervals import Estimate

if TYPE_CHECKING:
    from prism_jax.evaluation.counterfactuals.run import CounterfactualRun

SAMPLES = 12  # originals on the page

Outcomes = Mapping[str, Sequence[Outcome]]  # by edit
Errors = Mapping[str, CounterfactualMetrics]  # by edit; empty where no truth is known
Maps = Mapping[tuple[str, str], tuple[report.WordMap, ...]]  # by image and edit
DISTANCES = {  # of CounterfactualMetrics.compute()
    "closer": report.Column(name="Edit closer than reconstruction", unit="%"),
    "reconstruction_inside": report.Column(name="Error inside, reconstruction", unit="levels"),
    "edit_inside": report.Column(name="Error inside, edit", unit="levels"),
    "reconstruction_outside": report.Column(name="Error outside, reconstruction", unit="levels"),
    "edit_outside": report.Column(name="Error outside, edit", unit="levels"),
    "outside_growth": report.Column(name="Growth outside", unit="×"),
    "outside_growth_median": report.Column(name="Growth, median subject", unit="×"),
    "change_iou": "IoU of change with mask",
}


def report_of(config: "CounterfactualRun", manifest: Manifest, sd: StableDiffusion) -> report.Report:
    """The report of a finished cohort; `sd` draws the cross-attention maps."""
    rows, phantom = manifest.rows(), ground_truth.phantom_config(config.data)
    outcomes = {edit.name: measure.outcomes(manifest, edit, rows, phantom) for edit in config.edits}
    # Negative controls have no truth to come closer to.
    names = [edit.name for edit in config.edits if not edit.is_negative_control and outcomes[edit.name]]
    errors = {name: measure.merged(outcomes[name]) for name in names} if phantom else {}
    fidelity = measure.fidelity(manifest, rows)
    drawn = {name: _drawn(each, config.shown) for name, each in outcomes.items()}
    words = {outcome.key: _word_maps(sd, outcome) for each in drawn.values() for outcome in each[: config.attention]}
    one_per_image = {outcome.row["id"]: outcome for each in outcomes.values() for outcome in each}
    originals = [outcome.row for outcome in _drawn(list(one_per_image.values()), SAMPLES)]
    return report.Report(
        title=config.title,
        summary=summary(rows, is_phantom=phantom is not None),
        headline=headline(fidelity, errors),
        targets=targets(is_phantom=bool(errors)),
        look_first=look_first(is_phantom=bool(errors)),
        tables=(distances(config, errors) if errors else _sizes(outcomes), reconstructions(config, fidelity)),
        curves=training_curves(config.training),
        subjects=edit_rows(outcomes, drawn, errors, words),
        samples=tuple(
            report.Sample(image=manifest.image(row["original"]), caption=row["source_prompt"], group="Original images")
            for row in originals
        ),
    )


def _drawn(outcomes: Sequence[Outcome], count: int) -> list[Outcome]:
    """Outcomes drawn at random over patients."""
    return [outcomes[i] for i in subjects.drawn([outcome.row["patient"] for outcome in outcomes], count)]


def _word_maps(sd: StableDiffusion, outcome: Outcome) -> tuple[report.WordMap, ...]:
    prompts = (outcome.row["source_prompt"], outcome.row["edited_prompt"])
    return maps_of_edit(sd, prompts, (outcome.image("reconstruction"), outcome.image("edited")))


def edit_rows(outcomes: Outcomes, drawn: Outcomes, errors: Errors, words: Maps) -> tuple[report.EditRow, ...]:
    """The subjects drawn at random for each edit, then its best, median and worst of the others."""
    rows = []
    for name, each in outcomes.items():
        shown = {outcome.key for outcome in drawn[name]}
        chosen = gallery.chosen(each, errors.get(name), without=shown)
        rows += [edit_row(outcome, "", words.get(outcome.key, ())) for outcome in drawn[name]]
        rows += [edit_row(outcome, rank, ()) for outcome, rank in chosen]
    return tuple(rows)


def edit_row(outcome: Outcome, rank: str, words: tuple[report.WordMap, ...]) -> report.EditRow:
    """The images of one edit, with their errors where the truth is known."""
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
        return {"mean change, grey levels": outcome.row["mean_change"]}
    errors = outcome.measured()
    return {
        "error inside the mask, edit (grey levels)": float(errors.edit_inside[0]),
        "reconstruction": float(errors.reconstruction_inside[0]),
        "error outside, edit": float(errors.edit_outside[0]),
        "outside, reconstruction": float(errors.reconstruction_outside[0]),
    }


def reconstructions(config: "CounterfactualRun", fidelity: Mapping[str, Mapping[str, Estimate]]) -> report.Table:
    """Fidelity of the reconstruction; its PSNR has a target."""
    bound = fidelity[AUTOENCODER]["psnr"].value - config.max_psnr_loss
    target = lambda name, psnr: report.Check(estimate=psnr, at_least=bound) if name == INVERSION else psnr
    return report.Table(
        title="Image fidelity",
        columns=("Images", report.Column(name="PSNR", unit="dB"), "SSIM", "L1"),
        rows=tuple((name, target(name, of["psnr"]), of["ssim"], of["l1"]) for name, of in fidelity.items()),
        note=(
            "8-bit grey images; L1 in grey levels. 95 % intervals, bootstrap over patients. Target: the "
            f"inversion loses at most {config.max_psnr_loss:g} dB to the autoencoder alone."
        ),
    )


def distances(config: "CounterfactualRun", errors: Errors) -> report.Table:
    """Distance to the true counterfactual, one row per edit, with the targets of the configuration."""
    removal, addition = config.max_outside_growth
    limits = {edit.name: removal if edit.is_removal else addition for edit in config.edits}
    rows = []
    for edit, metrics in errors.items():
        cells = metrics.compute()
        cells["closer"] = report.Check(estimate=cells["closer"], at_least=config.min_closer_fraction)
        cells["outside_growth"] = report.Check(estimate=cells["outside_growth"], at_most=limits[edit])
        rows.append((edit, *(cells[name] for name in DISTANCES)))
    note = (
        "Error: mean absolute difference to the true counterfactual in grey levels (0 to 255), inside and outside the "
        "region that the attribute truly changes. Growth outside: error of the edit divided by error of the "
        "reconstruction, of the means and of the median subject. 95 % intervals: bootstrap over subjects; Wilson for "
        "fractions."
    )
    columns = ("Edit", *DISTANCES.values())
    return report.Table(title="Distance to the true counterfactual", columns=columns, rows=tuple(rows), note=note)


def _sizes(outcomes: Outcomes) -> report.Table:
    """Table of the size of the changes, where no truth is known; edits that all failed are left out."""
    changes = {name: measure.sizes(each) for name, each in outcomes.items() if each}
    rows = tuple((name, change["l1"], change["ssim"]) for name, change in changes.items())
    note = "Edit compared with reconstruction, 8-bit grey; no truth is known. 95 % intervals, bootstrap over patients."
    columns = ("Edit", report.Column(name="Mean change", unit="levels"), "SSIM")
    return report.Table(title="Size of the change", columns=columns, rows=rows, note=note)


def training_curves(run: str | None) -> tuple[report.Curve, ...]:
    """The loss of the training run in folder `run`; none of a run shorter than `loop.log_every`."""
    if run is None:
        return ()
    log = Path(run) / "metrics.jsonl"
    if not log.is_file():
        raise ValueError(f"no {log}; give the run folder of the training, or none")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    loss = report.logged(records, "loss")
    if not len(loss[0]) and any(VALIDATION_LOSS in record for record in records):
        return ()
    if not len(loss[0]):
        raise ValueError(f"no line of {log} has step and loss; give the run folder of a training, or none")
    return (report.Curve(title="Training", lines={"loss": loss}, y_label="denoising loss"),)


def summary(rows: Sequence[Mapping[str, Any]], *, is_phantom: bool) -> str:
    """Summary of the evaluated cohort, in one sentence."""
    counts = collections.Counter(row["status"] for row in rows)
    others = ", ".join(f"{counts[status]} {status}" for status in (REFUSED, FAILED) if counts[status])
    without = f" ({others}, see manifest.parquet)" if others else ""
    images, patients = len({row["id"] for row in rows}), len({row["patient"] for row in rows})
    compared = ", and compared with their true counterfactuals" if is_phantom else "; no true counterfactuals are known"
    return (
        f"{images} images of {patients} patients, inverted and edited by text: {counts[DONE]} edits{without}{compared}."
    )


def targets(*, is_phantom: bool) -> str:
    """Description of the targets in the tables."""
    psnr = "PSNR of the reconstruction compared with the autoencoder alone"
    if is_phantom:
        return f"{psnr}; errors of the edits inside and outside the region that truly changes"
    return f"{psnr}; the edits themselves are not tested, as no truth is known"


def look_first(*, is_phantom: bool) -> tuple[str, ...]:
    """Hints for reading the report."""
    if is_phantom:
        first = (
            "Compare the edit with the true counterfactual of the same subject: these are phantom X-rays from a known "
            "structural causal model, and the truth is the same patient with that one attribute set."
        )
    else:
        first = "Look at the difference images: is the change in the right place, and is everything else unchanged?"
    return (
        first,
        "Every effect is measured relative to the reconstruction, the inverted image sampled back without an edit: "
        "losses of the reconstruction are not effects of the edit.",
        "The first subjects of each edit are drawn at random, one image per patient; the best, median and worst of the "
        "others follow, with the measure that selected them.",
    )


def headline(fidelity: Mapping[str, Mapping[str, Estimate]], errors: Errors) -> tuple[tuple[str, str], ...]:
    """The figures at the top."""
    psnr, own = (fidelity[name]["psnr"].value for name in (INVERSION, AUTOENCODER))
    tiles = [(f"{psnr:.1f} dB", f"PSNR of the reconstruction by inversion (autoencoder alone {own:.1f} dB)")]
    if errors:
        closer = np.concatenate([each.closer for each in errors.values()])
        says = "of edits are closer to the true counterfactual than the reconstruction, inside the region that changes"
        tiles.append((f"{100 * closer.mean():.0f} %", says))
    return tuple(tiles)
