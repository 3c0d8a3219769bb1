"""Distances of two images as networks see them: LPIPS or a classifier's features, and structure in feature maps."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

from prism_jax.classifier import Classifier, preprocess
from prism_jax.metrics.clip import cosine
from prism_jax.models.lpips import LPIPS
from prism_jax.weights.lpips import load_lpips

FLOOR = 1e-8  # least length of a feature that has a direction


@dataclasses.dataclass(frozen=True, kw_only=True)
class PerceptualDistance:
    """What is measured, under the name by which a report has to call it."""

    name: str
    distance: Callable[[jax.Array, jax.Array], jax.Array]  # float [b, h, w, 3] twice, in [-1, 1] -> float32 [b]; jitted
    note: str  # what a reader has to know; "" where the name says all


def perceptual_distance(
    classifier: Classifier, *, lpips_folder: Path | str | None = None, backbone: str = "alex"
) -> PerceptualDistance:
    """LPIPS where there are weights for it; else the distance of the classifier's features, named so.

    Raises:
      ValueError: a folder was named and its weights cannot be used.
    """
    if lpips_folder is None:
        note = "No LPIPS weights were given (lpips_folder); distances of the classifier's features are shown instead."
        return PerceptualDistance(
            name="classifier-feature distance", distance=partial(_of_features, classifier), note=note
        )
    network = load_lpips(lpips_folder, backbone=backbone)
    label = {"alex": "AlexNet", "vgg": "VGG-16"}[backbone]
    return PerceptualDistance(name=f"LPIPS ({label})", distance=partial(_lpips, network), note="")


def structure_distance(classifier: Classifier, images: jax.Array, references: jax.Array) -> jax.Array:
    """How differently two images are laid out, float32 `[b]`, of `[b, h, w, 3]` twice in [-1, 1].

    Mean squared difference of the self-similarities of their feature maps. Tumanyan et al. 2022 (arXiv 2201.00424) take
    the keys of a DINO; these are the classifier's last maps, so that values are not comparable with theirs.
    """
    return self_similarity_distance(_maps(classifier, images), _maps(classifier, references))


def self_similarity_distance(maps: jax.Array, references: jax.Array) -> jax.Array:
    """The same of any feature maps `[b, h, w, c]` twice: between each two places, the cosine of their features."""
    return jnp.mean(jnp.square(self_similarity(maps) - self_similarity(references)), axis=(1, 2))


def self_similarity(maps: jax.Array) -> jax.Array:
    """Cosines `[b, h w, h w]` between the features of all places of `[b, h, w, c]`."""
    flat = maps.reshape(len(maps), -1, maps.shape[-1]).astype(jnp.float32)
    unit = flat / jnp.maximum(jnp.linalg.norm(flat, axis=-1, keepdims=True), FLOOR)
    return jnp.einsum("bic,bjc->bij", unit, unit, precision=jax.lax.Precision.HIGHEST)


def identity(features: jax.Array, references: jax.Array) -> jax.Array:
    """Cosine of the embeddings `[b, d]` of two images, `[b]`; 1 where the edit left the patient who they were."""
    return cosine(features, references)


def _maps(classifier: Classifier, images: jax.Array) -> jax.Array:
    config = classifier.network.config
    with jax.default_matmul_precision("float32"):
        return classifier.network.feature_maps(preprocess(images, classifier.size, config.input_range))


@jax.jit
def _of_features(classifier: Classifier, images: jax.Array, references: jax.Array) -> jax.Array:
    a, b = classifier.predict(images).features, classifier.predict(references).features
    return jnp.linalg.norm(a - b, axis=-1)


@jax.jit
def _lpips(network: LPIPS, images: jax.Array, references: jax.Array) -> jax.Array:
    with jax.default_matmul_precision("float32"):
        return network(images, references)
