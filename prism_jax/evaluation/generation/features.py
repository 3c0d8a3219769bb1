"""Pictures and what a classifier sees in them."""

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
class Side:
    """A set of pictures and what is known of them."""

    examples: Sequence[Example]
    pictures: np.ndarray  # uint8 [n, h, w]
    labels: np.ndarray  # float32 [n, targets]
    probabilities: np.ndarray  # float64 [n, targets]
    features: FeatureSet


def read(examples: Sequence[Example], size: int, fit: transforms.Fit, batch_size: int) -> np.ndarray:
    """All images as the model sees them, uint8 [n, size, size]."""
    batches = pipeline.batches(examples, batch_size, size=size, fit=fit)
    return np.concatenate([to_uint8(batch["image"][batch["mask"]][..., 0]) for batch in batches])


def looked_at(judge: Classifier, examples: Sequence[Example], pictures: np.ndarray, batch_size: int, what: str) -> Side:
    """What the judge sees in pictures that are to show what is known of `examples`."""
    found = judges.ask(judge, pictures, batch_size=batch_size, what=f"judging {what}")
    labels = targets.values([one.attributes for one in examples], judge.targets)
    patients = [one.patient for one in examples]
    findings = dict(zip(judge.targets, labels.T, strict=True))
    return Side(
        examples=examples,
        pictures=pictures,
        labels=labels,
        probabilities=np.asarray(found.probabilities, np.float64),
        features=FeatureSet.of(found.features, patients=patients, findings=findings),
    )
