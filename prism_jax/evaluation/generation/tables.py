"""What is measured of samples, as tables of a report."""

from collections.abc import Sequence

import numpy as np

from prism_jax import report
from prism_jax.classifier import Classifier
from prism_jax.evaluation.generation.features import Side
from prism_jax.metrics import classification, distribution
from prism_jax.metrics.clip import ClipScorer
from prism_jax.metrics.distribution import DistributionConfig
from prism_jax.metrics.memorisation import Memorisation
from prism_jax.pixels import rgb_from_uint8
from prism_jax.stats.intervals import BootstrapConfig, bootstrap

DISTRIBUTION = {
    "fid": report.Column(name="FID"),
    "kid": report.Column(name="KID"),
    "precision": report.Column(name="precision", unit="%"),
    "recall": report.Column(name="recall", unit="%"),
    "density": report.Column(name="density"),
    "coverage": report.Column(name="coverage", unit="%"),
}
AT_ONCE = 64  # pictures that CLIP sees
FOLLOWED = (("auroc", ""), ("accuracy", "%"), ("calibration_error", ""))


def distances(made: Side, real: Side, trained: Side, config: DistributionConfig) -> report.Table:
    """Distance of the samples from the real images, overall and by finding, beside that of other real images."""
    by_finding = distribution.compare_by_finding(real.features, made.features, config)
    floor = distribution.compare(real.features, trained.features, config)
    names = {"all": "samples"} | {name: f"samples with {name}" for name in by_finding if name != "all"}
    rows = [("real images of the split train", *(floor[key] for key in DISTRIBUTION))]
    rows += [(names[name], *(found[key] for key in DISTRIBUTION)) for name, found in by_finding.items()]
    return report.Table(
        title="Distance from the real images",
        columns=("Pictures", *DISTRIBUTION.values()),
        rows=tuple(rows),
        note=(
            "In the features of the classifier, so values compare only within this table. FID and KID: 0 is the same "
            "distribution, but FID of few images is above 0 for the same one too: read it against the first row. "
            "Precision and density: how real the samples look; recall and coverage: how much of what is real they show."
        ),
    )


def followed(judge: Classifier, made: Side, real: Side, config: BootstrapConfig) -> report.Table:
    """Whether the classifier finds in the samples what their captions say."""
    each = [
        classification.by_target(side.probabilities, side.labels, judge.targets, patients=side.features.patients)
        for side in (made, real)
    ]
    rows = []
    for name in judge.targets:
        found, there = (side[name].compute(config=config) for side in each)
        rows.append((name, *(found[key] for key, _ in FOLLOWED), *(there[key] for key, _ in FOLLOWED)))
    columns = [
        report.Column(name=f"{key.replace('_', ' ')}, {of}", unit=unit)
        for of in ("samples", "real")
        for key, unit in FOLLOWED
    ]
    return report.Table(
        title="Do the samples show what their captions say?",
        columns=("Attribute", *columns),
        rows=tuple(rows),
        note=(
            "As the classifier sees it, held against the caption, and on real images against their labels: it errs too."
        ),
    )


def memorised(copied: Memorisation, config: BootstrapConfig) -> report.Table:
    """Whether samples lie nearer to training images than unseen real images do."""
    found = copied.compute(config=config)
    return report.Table(
        title="Are the samples copies of training images?",
        columns=(
            "Pictures",
            report.Column(name="nearer to a training image than 99 % of unseen real ones", unit="%"),
            report.Column(name="chance to lie nearer than an unseen real one", unit="%"),
        ),
        rows=(("samples", found["suspects"], found["nearer"]),),
        note=(
            "By the nearest training image of another patient in the classifier's features. Without copying about 1 % "
            "and 50 %; a model that blurs what is rare lies nearer without copying, so look at the pairs."
        ),
    )


def agreement(scorer: ClipScorer, made: Side, prompts: Sequence[str], config: BootstrapConfig) -> report.Table:
    """CLIP's cosine of picture and caption, beside that with the caption of the next picture."""
    images = rgb_from_uint8(made.pictures)
    parts = [images[i : i + AT_ONCE] for i in range(0, len(images), AT_ONCE)]
    pictures = np.concatenate([np.asarray(scorer.image_features(part)) for part in parts])
    texts = np.asarray(scorer.text_features(prompts))
    cosines = lambda texts: np.sum(pictures * texts, axis=1)
    interval = lambda values: bootstrap(np.mean, values, subjects=made.features.patients, config=config)
    return report.Table(
        title="CLIP scores",
        columns=("Pictures", "own caption", "the next picture's caption"),
        rows=(("samples", interval(cosines(texts)), interval(cosines(np.roll(texts, 1, axis=0)))),),
        note="Cosine of the features of picture and caption.",
    )
