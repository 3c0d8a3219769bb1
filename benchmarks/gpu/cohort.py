"""Edits of a cohort end to end: JPEG files and a CSV of captions, inversion and one edit of each, PNG files."""

import csv
import io
import time
from pathlib import Path

import jax.numpy as jnp
from PIL import Image

from benchmarks import subjects
from prism_jax.data.captions.templates import PLAIN
from prism_jax.evaluation.counterfactuals import cohort
from prism_jax.evaluation.counterfactuals import run as counterfactuals_run
from prism_jax.evaluation.counterfactuals.manifest import Manifest
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, Inversion
from prism_jax.evaluation.edits import EditSpec

EDIT = "set age 8"  # which no phantom has, so that it applies to all


def write_images(folder: Path, count: int, size: int) -> Path:
    """`count` phantoms as JPEG files of `size` pixels; returns their CSV."""
    folder.mkdir(parents=True)
    numbers, images, attributes = subjects.phantoms("test", count, size)
    with (folder / "images.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("id", "path", "prompt"))
        for number, image, facts in zip(numbers, images, attributes, strict=True):
            encoded = io.BytesIO()
            Image.fromarray(image).save(encoded, "JPEG", quality=95)
            (folder / f"{number}.jpg").write_bytes(encoded.getvalue())
            lines.writerow((number, f"{number}.jpg", PLAIN.describe(facts)))
    return folder / "images.csv"


def seconds(run: Path, model: str, images: Path, *, batch_size: int, steps: int, dtype: jnp.dtype) -> float:
    """Of the run after the model is read: decoding, inverting, editing, encoding, writing. Without the report."""
    config = CounterfactualRun(
        run=str(run),
        model=model,
        data=str(images),
        any_image=True,
        edits=(EditSpec(edit=EDIT),),
        inversion=Inversion(method="edit_friendly", steps=steps, guidance=7.5),
        batch_size=batch_size,
        dtype=dtype,
    )
    work = counterfactuals_run.prepare(counterfactuals_run.with_card(config), 1)
    start = time.perf_counter()
    if not cohort.run(work, Manifest(run, config.output)):
        raise RuntimeError("the cohort is not done")
    return time.perf_counter() - start
