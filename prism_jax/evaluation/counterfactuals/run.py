"""Counterfactuals of a cohort: `python -m eval.counterfactuals --config configs/NAME.py [--section.option value]`.

Inverts the images of a data set, or of a CSV, makes the edits, measures them (against the truth, on the phantom) and
writes pictures, masks of change, `manifest.parquet` (a row an edit), `report.html`, `metrics.json` and `metrics.csv`
into the run folder. A stopped run goes on where it was. With `--processes.count N --processes.index I` the same
command on N processes shares the work; with `--processes.coordinator cluster` those that SLURM, Open MPI or Kubernetes
started.
"""

import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax import StableDiffusion, report, sharding
from prism_jax import config as configs
from prism_jax.classifier import Classifier
from prism_jax.data import transforms
from prism_jax.data.captions.templates import PLAIN, Template
from prism_jax.distributed import DistributedConfig
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation.counterfactuals import attention, batch_size, cohort
from prism_jax.evaluation.counterfactuals import report as counterfactuals_report
from prism_jax.evaluation.counterfactuals.cohort import Cohort
from prism_jax.evaluation.counterfactuals.inversion_store import InversionStore
from prism_jax.evaluation.counterfactuals.manifest import DONE, Format, Manifest
from prism_jax.evaluation.counterfactuals.outcomes import Outcome
from prism_jax.evaluation.counterfactuals.strength_sweep import Sweep, flips_of
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.subjects import Subject, choose, images_of
from prism_jax.metrics.clip import ClipScorer
from prism_jax.metrics.counterfactual import CounterfactualMetrics
from prism_jax.weights.files import fingerprint

# Settings that results of one folder share.
DECISIVE = (
    "model",
    "data",
    "split",
    "fit",
    "wording",
    "edits",
    "subjects_per_edit",
    "batch_size",
    "inversion",
    "sweep",
    "dtype",
    "output",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inversion:
    """Options of `editing.invert`."""

    method: str = "edit_friendly"
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
    """Folder that `prism data build` made, or a CSV of image files with their captions: path, prompt, id, patient."""
    split: str = "test"
    """Of the folder."""
    fit: transforms.Fit = "pad"
    wording: Template = PLAIN
    """How captions are worded: as one of those that the model was trained on."""
    edits: tuple[EditSpec, ...] = ()
    subjects_per_edit: int | None = None
    """Subjects of each change: the first it applies to; None: all."""
    shown: int = 4
    """Subjects of each change in the report's pictures: the first by number; its best, median and worst come after."""
    attention: int = 1
    """Subjects of each change for which the report shows where the words looked."""
    batch_size: int | None = 8
    """Images at once, over the devices of a process; None: a power of two a device, as many as its memory holds."""
    sweep: Sweep | None = None
    """Strengths to try of every edit, and how the one to keep is chosen; None: those of the change."""
    inversion_store: str | None = None
    """Folder in which inversions are kept and found again, by image, prompt, model and settings; float16."""
    inversion_store_gigabytes: float = 50.0
    """What that folder may hold; the longest unused are removed."""
    output: Format = "png"
    """Pictures as PNG files, or as ArrayRecord files of one batch each."""
    processes: DistributedConfig = DistributedConfig()
    inversion: Inversion = Inversion()
    dtype: jnp.dtype = jnp.dtype("float32")
    """Of the networks; float32 also on GPUs for null_text."""
    training: str | None = None
    """Run folder of the training, for its curve."""
    min_closer_fraction: float = 0.8
    """Share of subjects whose edit should be closer to the truth, inside the mask, than the reconstruction."""
    max_outside_growth: tuple[float, float] = (1.5, 2.0)
    """Largest growth of the error outside the mask, when a finding is taken away and when it is added."""
    max_psnr_loss: float = 1.0
    """Of the reconstruction against the VAE's own, in dB."""


def main(config: CounterfactualRun) -> None:
    """Runs the evaluation in the folder `config.run`."""
    if not config.edits:
        raise ValueError("edits is empty; list at least one EditSpec in the configuration")
    processes = config.processes.initialize()
    run = Path(config.run)
    config = check_settings(config, run)
    devices = jax.local_devices()
    mesh = sharding.make_mesh(devices) if len(devices) > 1 else None
    if mesh is not None and config.batch_size is not None:
        sharding.check_batch_size(config.batch_size, mesh)
    images = images_of(config.data, config.split, config.wording)
    subjects = choose(images, config.edits, config.subjects_per_edit)
    ground_truth.check(config.edits, subjects, ground_truth.phantom_config(config.data))
    sd = StableDiffusion.from_pretrained(config.model, dtype=config.dtype)
    work = Cohort(
        sd=sd if mesh is None else sd.on(mesh),
        images=images,
        subjects=subjects,
        edits=config.edits,
        inversion=dataclasses.asdict(config.inversion),
        batch_size=config.batch_size or len(devices),
        size=sd.size,
        fit=config.fit,
        mesh=mesh,
        store=inversion_store(config),
        sweep=config.sweep,
        scorer=ClipScorer.from_pretrained(config.sweep.clip) if config.sweep else None,
        judge=judge_of(config, subjects),
    )
    if config.batch_size is None:
        share = math.ceil(len(subjects) / len(devices) / processes.count)
        largest = min(batch_size.LARGEST, share)
        each = batch_size.fitting(partial(batch_size.needed_bytes, work), batch_size.device_memory(), largest=largest)
        config, work = (dataclasses.replace(x, batch_size=each * len(devices)) for x in (config, work))
        print(f"batches of {config.batch_size} images fit the memory", file=sys.stderr)
    configs.write(config, run)
    manifest = Manifest(run, config.output)
    is_done = cohort.run(work, manifest, index=processes.index, count=processes.count)
    while processes.coordinator and not is_done:  # a process that left early would end the others of its job
        time.sleep(1)
        is_done = manifest.merge(len(work.batches))
    if not is_done:
        print("this process is done; the last one to end writes manifest and report", file=sys.stderr)
    elif not processes.coordinator or processes.index == 0:
        document = document_of(config, manifest, work.sd)
        print(f"{report.save(document, run)}: {document.summary}", file=sys.stderr)


def check_settings(config: CounterfactualRun, run: Path) -> CounterfactualRun:
    """The settings with the batch size of an earlier start; refuses a folder of results from other settings."""
    if config.batch_size is None and (run / configs.FILE_NAME).is_file():
        config = dataclasses.replace(config, batch_size=configs.read(run).batch_size)
    configs.check_same(config, run, DECISIVE, holds="results", kept="parts/*.parquet")
    return config


def judge_of(config: CounterfactualRun, subjects: Sequence[Subject]) -> Classifier | None:
    """The classifier of the sweep; ValueError where it does not know what an edit sets."""
    if config.sweep is None or config.sweep.classifier is None:
        return None
    judge = Classifier.from_pretrained(config.sweep.classifier)
    for subject in subjects:
        for k in subject.edits:
            flips_of(config.edits[k].values(subject.attributes), judge.targets, np.zeros(len(judge.targets)))
    return judge


def inversion_store(config: CounterfactualRun) -> InversionStore | None:
    """Where inversions are kept, if they are."""
    if config.inversion_store is None:
        return None
    folder, gigabytes = Path(config.inversion_store), config.inversion_store_gigabytes
    return InversionStore(folder=folder, gigabytes=gigabytes, model=fingerprint(config.model))


def document_of(config: CounterfactualRun, manifest: Manifest, sd: StableDiffusion) -> report.Report:
    """The report of what was made."""
    rows = manifest.rows()
    outcomes = {edit.name: outcomes_of(config, manifest, edit, rows) for edit in config.edits}
    is_phantom = any(outcome.truth is not None for found in outcomes.values() for outcome in found)
    edits = [edit.name for edit in config.edits if not edit.is_negative_control]  # placebos have nothing to reach
    measured = {name: merged(outcomes[name]) for name in edits if outcomes[name]} if is_phantom else {}
    subjects = counterfactuals_report.first_rows(rows)
    image_metrics = counterfactuals_report.fidelity(manifest, subjects)
    words = attention.maps_of(sd, outcomes, min(config.attention, config.shown))
    return report.Report(
        title=config.title,
        summary=counterfactuals_report.summary(rows, is_phantom=is_phantom),
        headline=counterfactuals_report.headline(image_metrics, measured),
        subjects=counterfactuals_report.edit_rows(outcomes, config.shown, measured, words),
        samples=counterfactuals_report.samples(manifest, subjects),
        curves=counterfactuals_report.training_curves(config.training),
        tables=counterfactuals_report.tables(
            config.edits,
            image_metrics,
            measured,
            outcomes,
            min_closer_fraction=config.min_closer_fraction,
            max_outside_growth=config.max_outside_growth,
            max_psnr_loss=config.max_psnr_loss,
        ),
    )


def outcomes_of(config: CounterfactualRun, manifest: Manifest, edit: EditSpec, rows: list[dict]) -> list[Outcome]:
    """What became of one change, subject by subject, with the truth on phantoms."""
    done = [row for row in rows if row["edit"] == edit.name and row["status"] == DONE]
    phantom = ground_truth.phantom_config(config.data)
    if phantom is None or not done:
        return [Outcome(row=row, manifest=manifest) for row in done]
    images, masks = ground_truth.true_counterfactuals(done, edit, phantom, config.wording)
    return [
        Outcome(row=row, manifest=manifest, truth=image, mask=mask)
        for row, image, mask in zip(done, images, masks, strict=True)
    ]


def merged(rows: list[Outcome]) -> CounterfactualMetrics:
    """The errors of one change over its subjects."""
    first, *rest = (row.measured() for row in rows)
    return first.merge(*rest)
