"""Quality of a model's samples: `prism eval generation --config NAME [--option value]`.

Samples the captions of a split and compares the images with its real images: distance of the two distributions (FID,
KID, precision and recall, density and coverage), agreement of an independent classifier with the captions, and
memorisation of training images. Writes `report.html`, `metrics.json` and `metrics.csv` into the run folder. A stopped
run resumes.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prism_jax import StableDiffusion, report, rng
from prism_jax import config as configs
from prism_jax.classifier import Classifier
from prism_jax.data import transforms
from prism_jax.data.captions.templates import PLAIN, Template
from prism_jax.data.loading import pipeline
from prism_jax.evaluation import sampling
from prism_jax.evaluation.generation import tables
from prism_jax.evaluation.generation.tables import ImageSet
from prism_jax.evaluation.sampling import Samples
from prism_jax.metrics.distribution import DistributionConfig
from prism_jax.metrics.memorisation import Memorisation
from prism_jax.stats.intervals import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationRun:
    """Options of the evaluation of samples."""

    run: str = "runs/generation"
    """Run folder."""
    title: str = "Images from captions"
    """Title of the report."""
    model: str = "phantom"
    """Name of a shipped model, or a diffusers folder."""
    data: str = "data/phantom"
    split: str = "test"
    """Source of captions and real images. Memorisation is measured against the split "train"."""
    count: int = 256
    """Number of captions, the first of the split."""
    wording: Template = PLAIN
    """Caption template; the one the model was trained with."""
    fit: transforms.Fit = "pad"
    samples: Samples = Samples()
    judge: str = "phantom_judges/densenet"
    """Folder of the classifier whose features and predictions are used."""
    distribution: DistributionConfig = DistributionConfig()
    batch_size: int = 64
    """Batch size of the classifier."""
    shown: int = 8
    """Images of each kind in the report."""


def main(config: GenerationRun) -> None:
    """Samples, measures, and writes the run folder."""
    judge = check(config)
    sd = StableDiffusion.from_pretrained(config.model)
    held = pipeline.open_split(config.data, config.split)
    examples = [held[i] for i in range(min(config.count, len(held)))]
    run = Path(config.run)
    configs.write(config, run)
    prompts = [config.wording.describe(example.attributes) for example in examples]
    noise = rng.stream(rng.key(config.samples.seed), "generation")
    files = sampling.sample(sd, prompts, config.samples, noise, run / "images")
    predict = lambda examples, images, what: tables.evaluated(judge, examples, images, config.batch_size, what)
    generated = predict(examples, np.stack([transforms.decode(file.read_bytes()) for file in files]), "samples")
    real = predict(held, tables.read(held, sd.size, config.fit, config.batch_size), config.split)
    train = pipeline.open_split(config.data, "train")
    training = predict(train, tables.read(train, sd.size, config.fit, config.batch_size), "train")
    copied = Memorisation.of(generated=generated.features, held_out=real.features, training=training.features)
    tables_of_run = [
        tables.distances(generated, real, training, config.distribution),
        tables.caption_agreement(judge, generated, real, config.distribution.bootstrap),
        tables.memorisation(copied, config.distribution.bootstrap),
    ]
    document = report_of(config, prompts, (generated, real, training), copied, tables_of_run)
    print(f"{report.save(document, run)}: {'; '.join(' '.join(line) for line in document.headline)}", file=sys.stderr)


def check(config: GenerationRun) -> Classifier:
    """The judge; raises ValueError for settings that do not fit, before anything slow."""
    if config.count <= config.distribution.k:
        raise ValueError(f"count is {config.count}; distances need more than distribution.k = {config.distribution.k}")
    configs.check_same(config, config.run, ("model", "data", "split", "wording", "samples"), holds="images")
    for split in (config.split, "train"):
        if not len(pipeline.open_split(config.data, split)):
            raise ValueError(f"{config.data} has no image in {split}; build it with some")
    return Classifier.from_pretrained(config.judge)


LOOK_FIRST = (
    "Read the FID against its first row, other real images: few images alone make it larger than 0.",
    "Then look at the samples nearest to a training image: are they copies of it?",
    "Samples are the first by number, none selected by its result.",
)


def report_of(
    config: GenerationRun,
    prompts: Sequence[str],
    sets: tuple[ImageSet, ImageSet, ImageSet],
    copied: Memorisation,
    tables_of_run: Sequence[report.Table],
) -> report.Report:
    """The report: the first images by number, the nearest pairs, and the tables."""
    generated, real, training = sets
    samples = [
        report.Sample(image=side.images[i], caption=prompts[i], group=group)
        for group, side in (("Samples, the first by number", generated), ("The real images of these captions", real))
        for i in range(min(config.shown, len(prompts)))
    ]
    strips = [
        report.Strip(
            title=f"Sample {i}",
            group="Samples nearest to a training image of another patient",
            images=(
                report.Sample(image=generated.images[i], caption="sample"),
                report.Sample(image=training.images[copied.neighbour[i]], caption="training image"),
            ),
            metrics={"distance": f"{copied.distance[i]:.3g}"},
        )
        for i in np.argsort(copied.distance, kind="stable")[: config.shown // 2]
        if np.isfinite(copied.distance[i])
    ]
    fid: Estimate = tables_of_run[0].rows[1][1]
    floor: Estimate = tables_of_run[0].rows[0][1]
    return report.Report(
        title=config.title,
        summary=(
            f"{len(prompts)} captions of the split {config.split} of {config.data}, sampled by {config.model}, "
            f"compared with {len(real.images)} real images."
        ),
        headline=((f"{fid.value:.3g}", f"FID in the classifier's features ({floor.value:.3g} for other real images)"),),
        look_first=LOOK_FIRST,
        samples=tuple(samples),
        strips=tuple(strips),
        tables=tuple(tables_of_run),
    )
