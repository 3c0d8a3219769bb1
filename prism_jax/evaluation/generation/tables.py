"""Sets of images with their labels, predictions and features, and tables that compare them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from prism_jax import report
from prism_jax.classifier import Classifier
from prism_jax.data import targets, transforms
from prism_jax.data.loading import pipeline
from prism_jax.data.schema import Example
from prism_jax.evaluation import judges
from prism_jax.metrics import classification, distribution
from prism_jax.metrics.distribution import DistributionConfig, FeatureSet
from prism_jax.metrics.memorisation import Memorisation
from prism_jax.pixels import to_uint8
from prism_jax.stats.intervals import BootstrapConfig

DISTRIBUTION = {
    "fid": report.Column(name="FID"),
    "kid": report.Column(name="KID"),
    "precision": report.Column(name="precision", unit="%"),
    "recall": report.Column(name="recall", unit="%"),
    "density": report.Column(name="density"),
    "coverage": report.Column(name="coverage", unit="%"),
}
CAPTION_MEASURES = (("auroc", ""), ("accuracy", "%"), ("calibration_error", ""))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSet:
    """A set of images with labels, and a classifier's predictions and features."""

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
    labels = targets.values([example.attributes for example in examples], judge.targets)
    patients = [example.patient for example in examples]
    findings = dict(zip(judge.targets, labels.T, strict=True))
    return ImageSet(
        images=images,
        labels=labels,
        probabilities=np.asarray(predictions.probabilities, np.float64),
        features=FeatureSet.of(predictions.features, patients=patients, findings=findings),
    )


def distances(generated: ImageSet, real: ImageSet, training: ImageSet, config: DistributionConfig) -> report.Table:
    """Distance of the samples from the real images, overall and by finding, with other real images as reference."""
    by_finding = distribution.compare_by_finding(real.features, generated.features, config)
    floor = distribution.compare(real.features, training.features, config)
    names = {"all": "samples"} | {name: f"samples with {name}" for name in by_finding if name != "all"}
    rows = [("real images of the split train", *(floor[key] for key in DISTRIBUTION))]
    rows += [(names[name], *(distance[key] for key in DISTRIBUTION)) for name, distance in by_finding.items()]
    return report.Table(
        title="Distance from the real images",
        columns=("Images", *DISTRIBUTION.values()),
        rows=tuple(rows),
        note=(
            "In the features of the classifier, so values compare only within this table. FID and KID: 0 is the same "
            "distribution, but FID of few images is above 0 even then: compare it with the first row. Precision and "
            "density measure how realistic the samples are; recall and coverage, how much of the real variety."
        ),
    )


def caption_agreement(judge: Classifier, generated: ImageSet, real: ImageSet, config: BootstrapConfig) -> report.Table:
    """Agreement of the classifier with the captions of the samples."""
    each = [
        classification.by_target(side.probabilities, side.labels, judge.targets, patients=side.features.patients)
        for side in (generated, real)
    ]
    rows = []
    for name in judge.targets:
        measures = [side[name].compute(config=config) for side in each]
        rows.append((name, *(of_side[key] for of_side in measures for key, _ in CAPTION_MEASURES)))
    columns = [
        report.Column(name=f"{key.replace('_', ' ')}, {of}", unit=unit)
        for of in ("samples", "real")
        for key, unit in CAPTION_MEASURES
    ]
    return report.Table(
        title="Agreement with captions",
        columns=("Attribute", *columns),
        rows=tuple(rows),
        note=("Classifier against captions for samples, against labels for real images, where it errs too."),
    )


def memorisation(copied: Memorisation, config: BootstrapConfig) -> report.Table:
    """Memorisation: distances of samples to training images, compared with those of held-out real images."""
    fractions = copied.compute(config=config)
    return report.Table(
        title="Memorisation of training images",
        columns=(
            "Images",
            report.Column(name="nearer to a training image than 99 % of held-out real ones", unit="%"),
            report.Column(name="probability to lie nearer than a held-out real one", unit="%"),
        ),
        rows=(("samples", fractions["suspects"], fractions["nearer"]),),
        note=(
            "By the nearest training image of another patient in the classifier's features. Without memorisation about "
            "1 % and 50 %; a model that blurs rare features lies nearer without copying, so look at the pairs."
        ),
    )
