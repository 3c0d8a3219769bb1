"""Counterfactuals of a cohort: `prism eval counterfactuals --config NAME [--section.option value]`.

Inverts the images of a data set, or of a CSV, edits them, measures the edits (on the phantom against the true
counterfactual) and writes images, masks of change, `manifest.parquet` (one row per edit), `report.html`, `metrics.json`
and `metrics.csv` into the run folder. A stopped run resumes. With `--processes.count N --processes.index I` N processes
with the same command split the work; with `--processes.coordinator cluster` those that SLURM, Open MPI or Kubernetes
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

from prism_jax import StableDiffusion, model_card, report, sharding
from prism_jax import config as configs
from prism_jax.classifier import Classifier
from prism_jax.data import transforms
from prism_jax.data.captions.templates import PLAIN, Template
from prism_jax.distributed import DistributedConfig
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation.counterfactuals import batch_size, cohort
from prism_jax.evaluation.counterfactuals import report as counterfactuals_report
from prism_jax.evaluation.counterfactuals.cohort import Cohort
from prism_jax.evaluation.counterfactuals.inversion_store import InversionStore
from prism_jax.evaluation.counterfactuals.manifest import Format, Manifest
from prism_jax.evaluation.counterfactuals.strength_sweep import Sweep, flips_of
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.subjects import Subject, choose, images_of
from prism_jax.metrics.clip import ClipScorer
from prism_jax.model_card import NO_CARD, EditDefaults
from prism_jax.pretrained import folder as model_folder
from prism_jax.weights import files

# Settings that must not change between the starts of one run.
DECISIVE = (
    "model",
    "data",
    "split",
    "fit",
    "any_image",
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
    """Options of `editing.invert`; None: the model card's value, or the default of `model_card.EditDefaults`."""

    method: str | None = None
    """ddim, null_text, negative_prompt, direct or edit_friendly."""
    steps: int | None = None
    """Diffusion steps of the inversion, and as many of the edit."""
    guidance: float | None = None
    """Classifier-free guidance scale."""
    inner_steps: int | None = None
    """Largest number of null_text updates per diffusion step."""
    tolerance: float = 1e-5
    """Loss at which the updates of null_text stop."""

    def with_defaults(self, defaults: EditDefaults) -> "Inversion":
        """The options with None replaced by the model card's values."""
        return model_card.filled(self, defaults, ("method", "steps", "guidance", "inner_steps"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CounterfactualRun:
    """Configuration of a cohort of counterfactuals."""

    run: str = "runs/counterfactuals"
    """Run folder."""
    title: str = "Counterfactual chest X-rays"
    """Title of the report."""
    model: str = "model"
    """Diffusers folder."""
    data: str = "data/phantom"
    """Data set built by `prism data build`, or a CSV of image files and captions: path, prompt, id, patient."""
    split: str = "test"
    """Split of the data set; a CSV has none."""
    any_image: bool = False
    """Also edit images that do not resemble the model's training images; otherwise they are recorded as refused."""
    fit: transforms.Fit = "pad"
    """Pad images with black to a square, or crop their centre."""
    wording: Template = PLAIN
    """Caption template, one that the model was trained on."""
    edits: tuple[EditSpec, ...] = ()
    subjects_per_edit: int | None = None
    """Subjects per edit: the first that it applies to; None: all."""
    shown: int = 4
    """Subjects per edit whose images the report shows, drawn at random; its best, median and worst are added."""
    attention: int = 1
    """Subjects per edit for which the report shows cross-attention maps."""
    batch_size: int | None = 8
    """Images per batch, over the devices of a process; None: the largest power of two per device that fits memory."""
    sweep: Sweep | None = None
    """Strengths to try for every edit, and how the best is selected; None: the strengths of the edit itself."""
    inversion_store: str | None = None
    """Folder that stores inversions (float16) for reuse by image, prompt, model and settings."""
    inversion_store_gigabytes: float = 50.0
    """Largest size of that folder; the least recently used inversions are removed."""
    output: Format = "png"
    """Images as PNG files, or as one ArrayRecord file per batch."""
    processes: DistributedConfig = DistributedConfig()
    inversion: Inversion = Inversion()
    dtype: jnp.dtype = jnp.dtype("float32")
    """Compute type of the networks; null_text needs float32 on GPUs too."""
    training: str | None = None
    """Run folder of the training whose loss curve the report shows; None: no curve."""
    min_closer_fraction: float = 0.8
    """Target: fraction of edits closer to the truth than the reconstruction, inside the mask."""
    max_outside_growth: tuple[float, float] = (1.5, 2.0)
    """Target: error outside the mask, edit divided by reconstruction, for findings removed and for findings added."""
    max_psnr_loss: float = 1.0
    """Target: PSNR that the inversion may lose to the autoencoder alone, in dB."""


def main(config: CounterfactualRun) -> None:
    """Runs the evaluation in the folder `config.run`."""
    if not config.edits:
        raise ValueError("edits is empty; list at least one EditSpec in the configuration")
    processes = config.processes.initialize()
    run = Path(config.run)
    config = with_card(config)
    if config.batch_size is None and (run / configs.FILE_NAME).is_file():  # that of an earlier start
        config = dataclasses.replace(config, batch_size=configs.read(run).batch_size)
    configs.check_same(config, run, DECISIVE, holds="results", kept="parts/*.parquet")
    work = prepare(config, processes.count)
    configs.write(work.config, run)
    manifest = Manifest(run, config.output)
    is_done = cohort.run(work, manifest, index=processes.index, count=processes.count)
    while processes.coordinator and not is_done:  # a process that exits early would end the others of its job
        time.sleep(1)
        is_done = manifest.merge(len(work.batches))
    if not is_done:
        print("this process is done; the last one to finish writes manifest and report", file=sys.stderr)
    elif not processes.coordinator or processes.index == 0:
        page = counterfactuals_report.report_of(work.config, manifest, work.sd)
        print(f"{report.save(page, run)}: {page.summary}", file=sys.stderr)


def with_card(config: CounterfactualRun) -> CounterfactualRun:
    """The settings with inversion options and strengths that are None replaced by the model card's values."""
    card = model_card.read(model_folder(config.model))
    if card is NO_CARD and config.inversion.with_defaults(NO_CARD.edit) != config.inversion:
        print(
            f"{config.model} has no model card: steps and guidance are those of Stable Diffusion 1.5", file=sys.stderr
        )
    edits = tuple(edit.with_defaults(card.edit) for edit in config.edits)
    return dataclasses.replace(config, inversion=config.inversion.with_defaults(card.edit), edits=edits)


def prepare(config: CounterfactualRun, processes: int) -> Cohort:
    """The cohort to edit; raises ValueError for settings that do not fit the data."""
    local = jax.local_devices()
    batch = config.batch_size or len(local)
    mesh = sharding.make_mesh(local, batch_size=batch, copied=files.size_in_bytes(config.model))
    sharding.check_batch_size(batch, mesh)
    devices, mesh = mesh.size, mesh if mesh.size > 1 else None
    card = model_card.read(model_folder(config.model))
    images = images_of(config.data, config.split, config.wording, card.captions)
    subjects = choose(images, config.edits, config.subjects_per_edit)
    counterfactuals_report.training_curves(config.training)  # refuses a folder without a log
    ground_truth.check(config.edits, ground_truth.phantom_config(config.data))
    sd = StableDiffusion.from_pretrained(config.model, dtype=config.dtype)
    store = None
    if config.inversion_store is not None:
        folder, gigabytes = Path(config.inversion_store), config.inversion_store_gigabytes
        store = InversionStore(folder=folder, gigabytes=gigabytes, model=files.fingerprint(config.model))
    work = Cohort(
        config=dataclasses.replace(config, batch_size=batch),
        sd=sd if mesh is None else sd.on(mesh),
        images=images,
        subjects=subjects,
        mesh=mesh,
        store=store,
        scorer=ClipScorer.from_pretrained(config.sweep.clip) if config.sweep else None,
        judge=judge_of(config, subjects),
        autoencoder=None if config.any_image else card.autoencoder,
    )
    if config.batch_size is None:
        largest = min(batch_size.LARGEST, math.ceil(len(subjects) / devices / processes))
        each = batch_size.fitting(partial(batch_size.needed_bytes, work), batch_size.device_memory(), largest=largest)
        work = dataclasses.replace(work, config=dataclasses.replace(config, batch_size=each * devices))
        print(f"batch size {work.config.batch_size} fits the device memory", file=sys.stderr)
    return work


def judge_of(config: CounterfactualRun, subjects: Sequence[Subject]) -> Classifier | None:
    """The classifier of the sweep; ValueError where it does not predict an edited attribute."""
    if config.sweep is None or config.sweep.classifier is None:
        return None
    judge = Classifier.from_pretrained(config.sweep.classifier)
    for subject in subjects:
        for k in subject.edits:
            flips_of(config.edits[k].values(subject.attributes), judge.targets, np.zeros(len(judge.targets)))
    return judge
