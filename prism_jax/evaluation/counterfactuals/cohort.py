"""Inversion and editing of a cohort: batches over devices and processes, with reading and writing in the background.

Processes split the batches between them without communicating: each writes its own, and the last one to finish writes
the manifest. A process that dies can be restarted, on any machine, without affecting the others.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from prism_jax import StableDiffusion, editing, image_kind, sharding
from prism_jax.classifier import Classifier
from prism_jax.data import transforms
from prism_jax.evaluation.counterfactuals.inversion_store import InversionStore, rounded
from prism_jax.evaluation.counterfactuals.manifest import DONE, FAILED, REFUSED, Manifest
from prism_jax.evaluation.counterfactuals.strength_sweep import (
    BEST_BY,
    Candidate,
    Thresholds,
    flips_of,
    select,
)
from prism_jax.evaluation.subjects import Images, Subject, slug
from prism_jax.metrics.clip import ClipScorer
from prism_jax.metrics.counterfactual import CHANGE_THRESHOLD
from prism_jax.metrics.image import psnr
from prism_jax.model_card import AutoencoderError
from prism_jax.pixels import to_uint8

if TYPE_CHECKING:
    from prism_jax.evaluation.counterfactuals.run import CounterfactualRun

NO_IMAGE = -1.0  # value of a black image, which replaces an unreadable one so that the rest of its batch is unchanged


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cohort:
    """Configuration, model and images of a cohort."""

    config: "CounterfactualRun"  # with a batch size
    sd: StableDiffusion
    images: Images
    subjects: Sequence[Subject]
    mesh: Mesh | None = None
    store: InversionStore | None = None
    scorer: ClipScorer | None = None  # of the sweep
    judge: Classifier | None = None  # of the sweep: candidates that it does not recognise are refused
    autoencoder: AutoencoderError | None = None  # of the model card: images that lose more detail are refused

    def candidates(self, subject: Subject) -> list[list[editing.Edit]]:
        """The candidates of every edit of a subject."""
        edits = [self.config.edits[k].edit_of(subject.attributes, subject.wording) for k in subject.edits]
        return [[edit] if self.config.sweep is None else self.config.sweep.candidates(edit) for edit in edits]

    @cached_property
    def widest(self) -> int:
        """Largest number of candidates of one subject."""
        each = 1 if self.config.sweep is None else self.config.sweep.count
        return max(len(subject.edits) for subject in self.subjects) * each

    @property
    def batches(self) -> list[Sequence[Subject]]:
        size = self.config.batch_size
        return [self.subjects[i : i + size] for i in range(0, len(self.subjects), size)]


def run(cohort: Cohort, manifest: Manifest, *, index: int = 0, count: int = 1) -> bool:
    """Edits the unfinished batches of process `index` of `count`; True when those of all processes are done.

    While the device computes one batch, the next is read and decoded, and the previous one is encoded and written.
    """
    batches = cohort.batches
    mine = range(index, len(batches), count)
    unfinished = [i for i in mine if not manifest.is_done(i)]
    sizes = {i: len(batches[i]) for i in mine}
    done = sum(sizes.values()) - sum(sizes[i] for i in unfinished)
    bar = tqdm(total=sum(sizes.values()), initial=done, desc="inverting and editing", unit="image", mininterval=5)
    with bar, ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        start = time.perf_counter()
        loaded = reader.submit(_load, cohort, batches[unfinished[0]]) if unfinished else None
        writing: Future | None = None
        for place, i in enumerate(unfinished):
            pixels, errors = loaded.result()
            if place + 1 < len(unfinished):
                loaded = reader.submit(_load, cohort, batches[unfinished[place + 1]])
            with announced(cohort.mesh):
                outputs = edit_batch(cohort, batches[i], pixels) | {"original": to_uint8(pixels[..., 0])}
            if writing is not None:
                start = writing.result()  # at most one batch waits to be written: its arrays take device memory
            writing = writer.submit(_write, cohort, manifest, i, outputs, errors, start, bar)
        if writing is not None:
            writing.result()
    return manifest.merge(len(batches))


def announced(mesh: Mesh | None) -> contextlib.AbstractContextManager:
    """Context that sets the mesh for programs traced within it."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def _load(cohort: Cohort, subjects: Sequence[Subject]) -> tuple[np.ndarray, list[str | None]]:
    """Network input [batch_size, h, w, 3], and the error of each image that cannot be read."""
    shape = (*transforms.frame(cohort.sd.size, factor=cohort.sd.vae.config.factor), 3)
    pixels = np.full((cohort.config.batch_size, *shape), NO_IMAGE, np.float32)
    errors: list[str | None] = []
    for i, subject in enumerate(subjects):
        try:
            image = transforms.decode(cohort.images.read(subject.index))
            pixels[i] = transforms.to_input(
                image, cohort.sd.size, cohort.config.fit, factor=cohort.sd.vae.config.factor
            )
            errors.append(None)
        except (OSError, ValueError) as error:
            errors.append(" ".join(str(error).split()))
    pixels[len(subjects) :] = pixels[0]  # one shape, one compiled program
    return pixels, errors


def edit_batch(cohort: Cohort, subjects: Sequence[Subject], pixels: np.ndarray) -> dict[str, Any]:
    """Images of a batch, uint8 [b, h, w] or [b, n, h, w] of all candidates, being computed on the device."""
    sd, mesh = cohort.sd, cohort.mesh
    filled = [*subjects, *[subjects[0]] * (cohort.config.batch_size - len(subjects))]
    prompts = [subject.prompt for subject in filled]
    latents = sd.encode_image(pixels if mesh is None else jax.device_put(pixels, sharding.batch_sharding(mesh)))
    inverted = _inverted(cohort, pixels, latents, prompts)
    edits = [[edit for candidates in cohort.candidates(subject) for edit in candidates] for subject in filled]
    # Pad with the last edit: all subjects of a batch need equally many edits.
    edits = [[*row, *[row[-1]] * (cohort.widest - len(row))] for row in edits]
    result = editing.edit(sd, inverted, edits, mesh=mesh).latents  # [b, 1 + n, h, w, c]
    decoded = [sd.decode(result[:, i]) for i in range(1 + cohort.widest)]  # n + 1 times [b, h, w, 3]
    images = {
        "autoencoded": _grey(sd.decode(latents)),
        "reconstruction": _grey(decoded[0]),
        "edited": jnp.stack([_grey(edited) for edited in decoded[1:]], axis=1),
        "is_finite": jnp.isfinite(result).all((2, 3, 4)),  # [b, 1 + n]
    }
    if cohort.scorer is None:
        return images
    texts = [[edit.prompt for edit in row] for row in edits]
    images["scores"] = cohort.scorer.score(jnp.stack(decoded, axis=1), prompts, texts)
    if cohort.judge is not None:
        images["judged"] = jnp.stack([_judged(cohort.judge, edited) for edited in decoded[1:]], axis=1)
    return images


def _inverted(cohort: Cohort, pixels: np.ndarray, latents: jax.Array, prompts: Sequence[str]) -> editing.Inversion:
    """The inversion of a batch, read from the store if it holds all of it."""
    options, store = dataclasses.asdict(cohort.config.inversion), cohort.store
    invert = partial(editing.invert, cohort.sd, latents, prompts, **options, mesh=cohort.mesh)
    if store is None:
        return invert()
    keys = [store.key(image, prompt, options) for image, prompt in zip(pixels, prompts, strict=True)]
    facts = dict(guidance=jnp.float32(options["guidance"]), prompts=tuple(prompts), method=options["method"])
    stored = store.load(keys, cohort.sd.encode_prompt(prompts), **facts)
    if stored is not None:
        return stored
    inverted = rounded(invert())  # rounded as in the store, so that a second run gives the same images
    store.save(keys, inverted)
    return inverted


@jax.jit
def _judged(judge: Classifier, images: jax.Array) -> jax.Array:
    """A classifier's probabilities [b, n] for decoded images, which may leave [-1, 1]."""
    return judge.predict(jnp.clip(images, -1, 1)).probabilities


@jax.jit
def _grey(images: jax.Array) -> jax.Array:
    """8-bit grey of decoded images: the mean of the three nearly equal channels."""
    return to_uint8(images.mean(-1))


def _write(
    cohort: Cohort,
    manifest: Manifest,
    batch: int,
    outputs: dict[str, Any],
    errors: Sequence[str | None],
    start: float,
    bar: tqdm,
) -> float:
    """Waits for the images of a batch and writes them with their rows; returns the time at which they were ready.

    The time of a batch is measured from `start`, the time at which the previous batch was ready.
    """
    subjects = cohort.batches[batch]
    arrays = jax.device_get(outputs)
    ready = time.perf_counter()
    shared = dict(seconds=(ready - start) / len(subjects), batch=batch)
    rows, images = [], {}
    for i, subject in enumerate(subjects):
        own = {name: jax.tree.map(lambda x, i=i: x[i], values) for name, values in arrays.items()}
        new_rows, new_images = _rows(cohort, subject, own, errors[i])
        rows += [shared | row for row in new_rows]
        images |= new_images
    manifest.write(batch, rows, images)
    bar.update(len(subjects))
    return ready


def _rows(
    cohort: Cohort, subject: Subject, outputs: dict[str, Any], error: str | None
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Manifest rows of one subject, and their images by name."""
    shared = dict(id=subject.id, patient=subject.patient, number=subject.number, source_prompt=subject.prompt)
    if error is None and not outputs["is_finite"][0]:
        error = "the reconstruction is not finite; use float32"
    status, images = FAILED, {}
    if error is None:
        names = {name: f"{subject.id}/{name}" for name in ("original", "autoencoded", "reconstruction")}
        images |= {names[name]: outputs[name] for name in names}
        pair = (outputs[name][None, ..., None] for name in ("original", "reconstruction"))
        shared |= names | dict(psnr=float(psnr(*pair, value_range=(0, 255))[0]))
        factor = cohort.sd.vae.config.factor
        loss = image_kind.lost_detail(outputs["original"][None], outputs["autoencoded"][None], factor)[0]
        status, error = REFUSED, image_kind.why_another_kind(float(loss), cohort.autoencoder)
    rows, first = [], 0
    for k, candidates in zip(subject.edits, cohort.candidates(subject), strict=True):
        columns = range(first, first + len(candidates))
        first += len(candidates)
        row = shared | dict(edit=cohort.config.edits[k].name, edited_prompt=candidates[0].prompt)
        if error is not None:
            rows.append(row | dict(status=status, error=error))
            continue
        own_row, own_images = _row_of_edit(cohort, subject, k, candidates, columns, outputs)
        rows.append(row | own_row)
        images |= own_images
    return rows, images


def _row_of_edit(
    cohort: Cohort,
    subject: Subject,
    k: int,
    edits: Sequence[editing.Edit],
    columns: range,
    outputs: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The row and the images of the best candidate of edit `k`; `columns` are the candidates' places in `outputs`."""
    candidates = [_candidate(edit, column, outputs) for edit, column in zip(edits, columns, strict=True)]
    if cohort.judge is not None:
        values = cohort.config.edits[k].values(subject.attributes)
        flips = flips_of(values, cohort.judge.targets, outputs["judged"][columns.start : columns.stop])
        candidates = [dataclasses.replace(c, flips=bool(flip)) for c, flip in zip(candidates, flips, strict=True)]
    best, candidates = select(
        candidates, Thresholds() if cohort.config.sweep is None else cohort.config.sweep.thresholds
    )
    records = [candidate.record(cohort.config.inversion.guidance) for candidate in candidates]
    row = dict(candidates=json.dumps(records), status=DONE, error=None)
    if best is None:
        status = REFUSED if candidates[0].scores else FAILED
        row |= dict(status=status, error="; ".join(candidates[0].refusals))
        # The image of a refused candidate is kept for audits, which judge all edits.
        finite = [i for i, candidate in enumerate(candidates) if candidate.is_finite and candidate.scores]
        best = max(finite, key=lambda i: candidates[i].scores[BEST_BY], default=None)
    if best is None:
        return row, {}
    name = f"{subject.id}/{slug(cohort.config.edits[k].name)}"
    edited = outputs["edited"][columns[best]]
    change = np.abs(edited.astype(np.int16) - outputs["reconstruction"])
    mask = change > CHANGE_THRESHOLD
    row |= dict(mean_change=float(change.mean()), changed_fraction=float(mask.mean()))
    strengths = {field: records[best][field] for field in ("guidance", "cross_steps", "self_steps")}
    images = {name: edited, f"{name}-mask": mask.astype(np.uint8) * 255}
    return row | strengths | dict(edited=name, mask=f"{name}-mask"), images


def _candidate(edit: editing.Edit, column: int, outputs: dict[str, Any]) -> Candidate:
    scores = {} if "scores" not in outputs else vars(outputs["scores"])
    return Candidate(
        edit=edit,
        is_finite=bool(outputs["is_finite"][1 + column]),
        scores={name: float(scores[name] if name == "source_text" else scores[name][column]) for name in scores},
    )
