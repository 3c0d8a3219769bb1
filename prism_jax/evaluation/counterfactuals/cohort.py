"""Inverting and editing many images: batches over devices and processes, with reading and writing beside them.

Processes share the batches out between them and never talk: each writes its own, and whoever finds all done writes the
manifest. So one that dies is started again, here or elsewhere, and takes nothing down with it.
"""

import contextlib
import dataclasses
import json
import re
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any

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
from prism_jax.evaluation.counterfactuals.strength_sweep import Candidate, Sweep, flips_of, judged
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.subjects import Images, Subject
from prism_jax.metrics.choice import BEST_BY, Thresholds
from prism_jax.metrics.clip import ClipScorer
from prism_jax.metrics.counterfactual import CHANGE_THRESHOLD
from prism_jax.metrics.image import psnr
from prism_jax.model_card import AutoencoderError
from prism_jax.pixels import to_uint8

NO_IMAGE = -1.0  # black stands in for a picture that cannot be read, so that the others of its batch stay as they are


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cohort:
    """What is made of every batch."""

    sd: StableDiffusion
    images: Images
    subjects: Sequence[Subject]
    edits: Sequence[EditSpec]
    inversion: dict[str, Any]  # options of `editing.invert`
    batch_size: int
    size: int  # pixels
    fit: transforms.Fit
    mesh: Mesh | None = None
    store: InversionStore | None = None
    sweep: Sweep | None = None
    scorer: ClipScorer | None = None  # of the sweep
    judge: Classifier | None = None  # of the sweep: what it does not find is refused
    autoencoder: AutoencoderError | None = None  # of the model card: images that lose more detail are refused

    def candidates(self, subject: Subject) -> list[list[editing.Edit]]:
        """The candidates of every change of a subject."""
        edits = [self.edits[k].edit_of(subject.attributes, subject.wording) for k in subject.edits]
        return [[edit] if self.sweep is None else self.sweep.candidates(edit) for edit in edits]

    @cached_property
    def widest(self) -> int:
        """Edits, candidates included, of the subject with the most."""
        return max(len(subject.edits) for subject in self.subjects) * (1 if self.sweep is None else self.sweep.count)

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds() if self.sweep is None else self.sweep.thresholds

    @property
    def batches(self) -> list[Sequence[Subject]]:
        return [self.subjects[i : i + self.batch_size] for i in range(0, len(self.subjects), self.batch_size)]


def run(cohort: Cohort, manifest: Manifest, *, index: int = 0, count: int = 1) -> bool:
    """Makes the batches of process `index` of `count` that are not done yet; True when all of everybody's are.

    While the device works on one batch, the next is read and decoded and the last one is encoded and written.
    """
    batches = cohort.batches
    mine = range(index, len(batches), count)
    left = [i for i in mine if not manifest.is_done(i)]
    sizes = {i: len(batches[i]) for i in mine}
    done = sum(sizes.values()) - sum(sizes[i] for i in left)
    bar = tqdm(total=sum(sizes.values()), initial=done, desc="inverting and editing", unit="image", mininterval=5)
    with bar, ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        clock = _Clock()
        loaded = reader.submit(_load, cohort, batches[left[0]]) if left else None
        writing: Future | None = None
        for place, i in enumerate(left):
            pixels, errors = loaded.result()
            if place + 1 < len(left):
                loaded = reader.submit(_load, cohort, batches[left[place + 1]])
            with announced(cohort.mesh):
                made = make(cohort, batches[i], pixels) | {"original": to_uint8(pixels[..., 0])}
            if writing is not None:
                writing.result()  # at most one batch waits: its arrays take device memory
            writing = writer.submit(_write, cohort, manifest, i, batches[i], made, errors, clock, bar)
        if writing is not None:
            writing.result()
    return manifest.merge(len(batches))


def announced(mesh: Mesh | None) -> contextlib.AbstractContextManager:
    """Tells the programs that are traced within of the mesh they will be cut over."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


class _Clock:
    """Seconds since the last batch was written; a class because each lap starts where the last one ended."""

    def __init__(self):
        self._start = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        self._start, seconds = now, now - self._start
        return seconds


def _load(cohort: Cohort, subjects: Sequence[Subject]) -> tuple[np.ndarray, list[str | None]]:
    """Network input [batch_size, h, w, 3], and by subject what is wrong with its picture."""
    shape = (*transforms.frame(cohort.size, factor=cohort.sd.vae.config.factor), 3)
    pixels = np.full((cohort.batch_size, *shape), NO_IMAGE, np.float32)
    errors: list[str | None] = []
    for i, subject in enumerate(subjects):
        try:
            picture = transforms.decode(cohort.images.read(subject.index))
            pixels[i] = transforms.to_input(picture, cohort.size, cohort.fit, factor=cohort.sd.vae.config.factor)
            errors.append(None)
        except (OSError, ValueError) as error:
            errors.append(" ".join(str(error).split()))
    pixels[len(subjects) :] = pixels[0]  # one shape, one compiled program
    return pixels, errors


def make(cohort: Cohort, subjects: Sequence[Subject], pixels: np.ndarray) -> dict[str, Any]:
    """Pictures of a batch, uint8 [b, h, w] or [b, n, h, w] of all candidates, being computed on the device."""
    sd, mesh = cohort.sd, cohort.mesh
    filled = [*subjects, *[subjects[0]] * (cohort.batch_size - len(subjects))]
    prompts = [subject.prompt for subject in filled]
    latents = sd.encode_image(pixels if mesh is None else jax.device_put(pixels, sharding.batch_sharding(mesh)))
    inverted = _inverted(cohort, pixels, latents, prompts)
    edits = [[edit for made in cohort.candidates(subject) for edit in made] for subject in filled]
    # A subject with fewer edits repeats its last one: all rows of a batch are equally long.
    edits = [[*row, *[row[-1]] * (cohort.widest - len(row))] for row in edits]
    result = editing.edit(sd, inverted, edits, mesh=mesh).latents  # [b, 1 + n, h, w, c]
    decoded = [sd.decode(result[:, i]) for i in range(1 + cohort.widest)]  # n + 1 times [b, h, w, 3]
    pictures = {
        "autoencoded": _grey(sd.decode(latents)),
        "reconstruction": _grey(decoded[0]),
        "edited": jnp.stack([_grey(images) for images in decoded[1:]], axis=1),
        "is_finite": jnp.isfinite(result).all((2, 3, 4)),  # [b, 1 + n]
    }
    if cohort.scorer is None:
        return pictures
    texts = [[edit.prompt for edit in row] for row in edits]
    pictures["scores"] = cohort.scorer.score(jnp.stack(decoded, axis=1), prompts, texts)
    if cohort.judge is not None:
        pictures["judged"] = jnp.stack([_judged(cohort.judge, images) for images in decoded[1:]], axis=1)
    return pictures


def _inverted(cohort: Cohort, pixels: np.ndarray, latents: jax.Array, prompts: Sequence[str]) -> editing.Inversion:
    """The inversion of a batch, from the store where that holds all of it."""
    options, store = cohort.inversion, cohort.store
    invert = partial(editing.invert, cohort.sd, latents, prompts, **options, mesh=cohort.mesh)
    if store is None:
        return invert()
    keys = [store.key(image, prompt, options) for image, prompt in zip(pixels, prompts, strict=True)]
    facts = dict(guidance=jnp.float32(options["guidance"]), prompts=tuple(prompts), method=options["method"])
    kept = store.load(keys, cohort.sd.encode_prompt(prompts), **facts)
    if kept is not None:
        return kept
    made = rounded(invert())  # as it will be read again, so that a second run gives the same pictures
    store.save(keys, made)
    return made


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
    subjects: Sequence[Subject],
    made: dict[str, Any],
    errors: Sequence[str | None],
    clock: _Clock,
    bar: tqdm,
) -> None:
    """Waits for the pictures of a batch and writes them with their rows."""
    arrays = jax.device_get(made)
    shared = dict(seconds=clock.lap() / len(subjects), batch=batch)
    rows, pictures = [], {}
    for i, subject in enumerate(subjects):
        found = {name: jax.tree.map(lambda x, i=i: x[i], values) for name, values in arrays.items()}
        new_rows, new_pictures = _told(cohort, subject, found, errors[i])
        rows += [shared | row for row in new_rows]
        pictures |= new_pictures
    manifest.write(batch, rows, pictures)
    bar.update(len(subjects))


def _told(
    cohort: Cohort, subject: Subject, found: dict[str, Any], error: str | None
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """The manifest's rows of one subject, and the pictures that they name."""
    shared = dict(id=subject.id, patient=subject.patient, number=subject.number, source_prompt=subject.prompt)
    if error is None and not found["is_finite"][0]:
        error = "the reconstruction is not finite; use float32"
    status, pictures = FAILED, {}
    if error is None:
        names = {name: f"{subject.id}/{name}" for name in ("original", "autoencoded", "reconstruction")}
        pictures |= {names[name]: found[name] for name in names}
        shared |= names | dict(psnr=_psnr(found["original"], found["reconstruction"]))
        error = _another_kind(cohort, found)
        status = REFUSED
    rows, first = [], 0
    for k, edits in zip(subject.edits, cohort.candidates(subject), strict=True):
        own = range(first, first + len(edits))
        first += len(edits)
        row = shared | dict(edit=cohort.edits[k].name, edited_prompt=edits[0].prompt)
        if error is not None:
            rows.append(row | dict(status=status, error=error))
            continue
        values = cohort.edits[k].values(subject.attributes)
        made = [_candidate(edit, column, found) for edit, column in zip(edits, own, strict=True)]
        if cohort.judge is not None:
            flips = flips_of(values, cohort.judge.targets, found["judged"][own.start : own.stop])
            made = [dataclasses.replace(c, flips=bool(flip)) for c, flip in zip(made, flips, strict=True)]
        best, candidates = judged(made, cohort.thresholds)
        told = [candidate.told(cohort.inversion["guidance"]) for candidate in candidates]
        row |= dict(candidates=json.dumps(told))
        outcome, error_of = DONE, None
        if best is None:
            outcome = REFUSED if candidates[0].scores else FAILED
            best, error_of = _least_bad(candidates), "; ".join(candidates[0].refusals)
        if best is None:
            rows.append(row | dict(status=outcome, error=error_of))
            continue
        name = f"{subject.id}/{slug(row['edit'])}"
        measured, mask = _change(found["reconstruction"], found["edited"][own[best]])
        pictures |= {name: found["edited"][own[best]], f"{name}-mask": mask}
        strengths = {name: told[best][name] for name in ("guidance", "cross_steps", "self_steps")}
        told_of = dict(status=outcome, error=error_of, edited=name, mask=f"{name}-mask")
        rows.append(row | measured | strengths | told_of)
    return rows, pictures


def _another_kind(cohort: Cohort, found: dict[str, Any]) -> str | None:
    """Why an image is not of the kind that the model knows; None where it is, or no card says."""
    factor = cohort.sd.vae.config.factor
    loss = image_kind.lost_detail(found["original"][None], found["autoencoded"][None], factor)[0]
    return image_kind.why_another_kind(float(loss), cohort.autoencoder)


def _least_bad(candidates: Sequence[Candidate]) -> int | None:
    """The refused candidate whose picture is kept: an audit looks at all that was attempted. None: none is finite."""
    finite = [i for i, one in enumerate(candidates) if one.is_finite and one.scores]
    return max(finite, key=lambda i: candidates[i].scores[BEST_BY], default=None)


def _candidate(edit: editing.Edit, column: int, found: dict[str, Any]) -> Candidate:
    scores = found.get("scores")
    columns = {} if scores is None else {name: getattr(scores, name)[column] for name in ("image", "text", "direction")}
    if columns:
        columns["source_text"] = scores.source_text
    return Candidate(
        edit=edit,
        is_finite=bool(found["is_finite"][1 + column]),
        scores={name: float(value) for name, value in columns.items()},
    )


def _change(reconstruction: np.ndarray, edited: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """How much an edit changed, and where: uint8 [h, w], 255 above the threshold."""
    change = np.abs(edited.astype(np.int16) - reconstruction)
    mask = change > CHANGE_THRESHOLD
    return dict(mean_change=float(change.mean()), changed_fraction=float(mask.mean())), mask.astype(np.uint8) * 255


def _psnr(original: np.ndarray, reconstruction: np.ndarray) -> float:
    pair = (picture[None, ..., None] for picture in (original, reconstruction))
    return float(psnr(*pair, value_range=(0, 255))[0])


def slug(name: str) -> str:
    """A name as a file name."""
    return re.sub(r"[^\w.=-]+", "-", name)
