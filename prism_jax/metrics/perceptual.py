"""Perceptual distance of two images: LPIPS, or the distance of a classifier's features."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

from prism_jax.classifier import Classifier
from prism_jax.models.lpips import LPIPS
from prism_jax.weights.lpips import load_lpips


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerceptualDistance:
    """A distance and the name a report gives it."""

    name: str
    distance: Callable[[jax.Array, jax.Array], jax.Array]  # float [b, h, w, 3] twice, in [-1, 1] -> float32 [b]; jitted
    note: str  # explanation for the reader; "" if none is needed


def perceptual_distance(classifier: Classifier, *, lpips_folder: Path | str | None = None) -> PerceptualDistance:
    """LPIPS where there are weights for it; else the distance of the classifier's features, named so.

    Raises:
      ValueError: a folder was named and its weights cannot be used.
    """
    if lpips_folder is None:
        note = "No LPIPS weights were given (lpips_folder); distances of the classifier's features are shown instead."
        return PerceptualDistance(
            name="classifier-feature distance", distance=partial(_of_features, classifier), note=note
        )
    network = load_lpips(lpips_folder)
    return PerceptualDistance(name="LPIPS (AlexNet)", distance=partial(_lpips, network), note="")


@jax.jit
def _of_features(classifier: Classifier, images: jax.Array, references: jax.Array) -> jax.Array:
    a, b = classifier.predict(images).features, classifier.predict(references).features
    return jnp.linalg.norm(a - b, axis=-1)


@jax.jit
def _lpips(network: LPIPS, images: jax.Array, references: jax.Array) -> jax.Array:
    with jax.default_matmul_precision("float32"):
        return network(images, references)
