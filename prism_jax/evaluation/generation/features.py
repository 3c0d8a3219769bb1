"""Sets of images with their labels, predictions and features."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from prism_jax.classifier import Classifier
from prism_jax.data import targets, transforms
from prism_jax.data.loading import pipeline
from prism_jax.data.schema import Example
from prism_jax.evaluation import judges
from prism_jax.metrics.distribution import FeatureSet
from prism_jax.pixels import to_uint8


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSet:
    """A set of images with labels, and a classifier's predictions and features."""

    examples: Sequence[Example]
    images: np.ndarray  # uint8 [n, h, w]
    labels: np.ndarray  # float32 [n, targets]
    probabilities: np.ndarray  # float64 [n, targets]
    features: FeatureSet


def read(examples: Sequence[Example], size: int, fit: transforms.Fit, batch_size: int) -> np.ndarray:
    """All images at the model's size, uint8 [n, size, size]."""
    batches = pipeline.batches(examples, batch_size, size=size, fit=fit)
    return np.concatenate([to_uint8(batch["image"][batch["mask"]][..., 0]) for batch in batches])


def evaluated(
    judge: Classifier, examples: Sequence[Example], images: np.ndarray, batch_size: int, what: str
) -> ImageSet:
    """The judge's predictions and features for images with the attributes of `examples`."""
    predictions = judges.ask(judge, images, batch_size=batch_size, what=f"judging {what}")
    labels = targets.values([one.attributes for one in examples], judge.targets)
    patients = [one.patient for one in examples]
    findings = dict(zip(judge.targets, labels.T, strict=True))
    return ImageSet(
        examples=examples,
        images=images,
        labels=labels,
        probabilities=np.asarray(predictions.probabilities, np.float64),
        features=FeatureSet.of(predictions.features, patients=patients, findings=findings),
    )
