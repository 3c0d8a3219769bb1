"""Inverting and editing many images in batches; every batch is kept, so that a stopped run goes on where it was."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from eval.changes import Change, Subject
from prism_jax import StableDiffusion, editing
from prism_jax.data import captions, transforms
from prism_jax.metrics.counterfactual import CounterfactualMetrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """One change of one subject; images uint8 [h, w]."""

    subject: Subject
    pictures: dict[str, np.ndarray]  # "original", "autoencoded", "reconstruction", "edited"
    truth: np.ndarray | None = None  # on phantoms
    mask: np.ndarray | None = None  # bool [h, w]: where the truth differs

    def measured(self) -> CounterfactualMetrics:
        """Its errors inside and outside the mask."""
        images = {name: self.pictures[name][None] for name in ("reconstruction", "edited")}
        return CounterfactualMetrics.of(**images, truth=self.truth[None], mask=self.mask[None])


def counterfactuals(
    sd: StableDiffusion,
    subjects: Sequence[Subject],
    changes: Sequence[Change],
    folder: Path,
    *,
    batch_size: int,
    size: int,
    fit: transforms.Fit,
    inversion: dict,
) -> Iterator[tuple[Subject, dict[str, np.ndarray]]]:
    """Each subject with its pictures, uint8 [h, w] grey: "original", "autoencoded", "reconstruction", "edited" [e].

    `inversion` holds the options of `editing.invert`. Batches are written to `folder` as they are made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    widest = max(len(subject.changes) for subject in subjects)
    starts = range(0, len(subjects), batch_size)
    for start in tqdm(starts, desc="inverting and editing", unit="batch", mininterval=5):
        batch = subjects[start : start + batch_size]
        file = folder / f"{start:06d}.npz"
        if not file.is_file():
            filled = [*batch, *[batch[-1]] * (batch_size - len(batch))]  # one shape, one compiled program
            _save(file, _batch(sd, filled, changes, widest, size, fit, inversion))
        with np.load(file) as arrays:
            pictures = {name: arrays[name] for name in arrays.files}
        for i, subject in enumerate(batch):
            yield subject, {name: values[i] for name, values in pictures.items()}


def _batch(
    sd: StableDiffusion,
    subjects: Sequence[Subject],
    changes: Sequence[Change],
    widest: int,
    size: int,
    fit: transforms.Fit,
    options: dict,
) -> dict[str, np.ndarray]:
    factor = sd.vae.config.factor
    decoded = [transforms.decode(subject.example.image) for subject in subjects]
    images = np.stack([transforms.to_input(pixels, size, fit, factor=factor) for pixels in decoded])
    latents = sd.encode_image(jnp.asarray(images))
    inverted = editing.invert(sd, latents, [captions.describe(s.example.attributes) for s in subjects], **options)
    # A subject with fewer changes repeats its last one: all rows of a batch are equally long.
    numbers = [(*s.changes, *[s.changes[-1]] * (widest - len(s.changes))) for s in subjects]
    edits = [[changes[k].edit(s.example.attributes) for k in row] for s, row in zip(subjects, numbers, strict=True)]
    result = editing.edit(sd, inverted, edits).latents  # [b, 1 + e, h, w, c]
    pictures = _grey(sd.decode(result.reshape(-1, *result.shape[2:])))
    pictures = pictures.reshape(len(subjects), 1 + widest, *pictures.shape[1:])
    return {
        "original": transforms.to_uint8(images[..., 0]),
        "autoencoded": _grey(sd.decode(latents)),
        "reconstruction": pictures[:, 0],
        "edited": pictures[:, 1:],
    }


def _grey(images: jnp.ndarray) -> np.ndarray:
    """8-bit grey of decoded images: the mean of the three nearly equal channels."""
    return transforms.to_uint8(np.asarray(images).mean(-1))


def _save(file: Path, arrays: dict[str, np.ndarray]) -> None:
    partial = file.with_suffix(".partial.npz")
    np.savez(partial, **arrays)
    os.replace(partial, file)
