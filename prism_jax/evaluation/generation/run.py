"""How good are a model's own pictures? `python -m eval.generation --config configs/NAME.py [--option value]`.

Samples the captions of a split and holds the pictures against its real images: distance of the two distributions (FID,
KID, precision and recall, density and coverage), whether an independent classifier finds what the captions say, and
whether training images were copied. Writes `report.html`, `metrics.json` and `metrics.csv` into the run folder. A
stopped run goes on where it was.
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
from prism_jax.evaluation.generation import features as generation_features
from prism_jax.evaluation.generation import tables
from prism_jax.evaluation.generation.features import Side
from prism_jax.evaluation.sampling import Samples
from prism_jax.metrics.clip import ClipScorer
from prism_jax.metrics.distribution import DistributionConfig
from prism_jax.metrics.memorisation import Memorisation
from prism_jax.stats.intervals import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationRun:
    """Everything a run of this program depends on."""

    run: str = "runs/generation"
    title: str = "Pictures from captions"
    model: str = "phantom"
    data: str = "data/phantom"
    split: str = "test"
    """Whose captions are sampled and whose images are the real ones. The split "train" is what may have been copied."""
    count: int = 256
    """Most captions, the first of the split."""
    wording: Template = PLAIN
    """Of the captions; that which the model was trained on."""
    fit: transforms.Fit = "pad"
    samples: Samples = Samples()
    judge: str = "phantom_judges/densenet"
    """Folder of a classifier whose features are compared, and which says what the pictures show."""
    clip: str | None = None
    """Folder of a CLIPModel that scores how pictures and captions agree; None: none does."""
    distribution: DistributionConfig = DistributionConfig()
    batch_size: int = 64
    """Pictures that the classifier sees at once."""
    shown: int = 8
    """Pictures of each kind in the report."""


def main(config: GenerationRun) -> None:
    """Samples, measures, and writes the run folder."""
    judge = check(config)
    scorer = None if config.clip is None else ClipScorer.from_pretrained(config.clip)
    sd = StableDiffusion.from_pretrained(config.model)
    held = pipeline.open_split(config.data, config.split)
    examples = [held[i] for i in range(min(config.count, len(held)))]
    run = Path(config.run)
    configs.write(config, run)
    prompts = [config.wording.describe(one.attributes) for one in examples]
    noise = rng.stream(rng.key(config.samples.seed), "generation")
    files = sampling.sample(sd, prompts, config.samples, noise, run / "images")
    look = lambda examples, pictures, what: generation_features.looked_at(
        judge, examples, pictures, config.batch_size, what
    )
    made = look(examples, np.stack([transforms.decode(file.read_bytes()) for file in files]), "samples")
    real = look(held, generation_features.read(held, sd.size, config.fit, config.batch_size), config.split)
    train = pipeline.open_split(config.data, "train")
    trained = look(train, generation_features.read(train, sd.size, config.fit, config.batch_size), "train")
    copied = Memorisation.of(generated=made.features, held_out=real.features, training=trained.features)
    found = [
        tables.distances(made, real, trained, config.distribution),
        tables.followed(judge, made, real, config.distribution.bootstrap),
        tables.memorised(copied, config.distribution.bootstrap),
        *([] if scorer is None else [tables.agreement(scorer, made, prompts, config.distribution.bootstrap)]),
    ]
    document = document_of(config, prompts, (made, real, trained), copied, found)
    print(f"{report.save(document, run)}: {'; '.join(' '.join(line) for line in document.headline)}", file=sys.stderr)


def check(config: GenerationRun) -> Classifier:
    """The judge; raises ValueError for settings that do not fit, before anything slow."""
    if config.count <= config.distribution.k:
        raise ValueError(f"count is {config.count}; distances need more than distribution.k = {config.distribution.k}")
    configs.check_same(config, config.run, ("model", "data", "split", "wording", "samples"), holds="pictures")
    for split in (config.split, "train"):
        if not len(pipeline.open_split(config.data, split)):
            raise ValueError(f"{config.data} has no image in {split}; build it with some")
    return Classifier.from_pretrained(config.judge)


def document_of(
    config: GenerationRun,
    prompts: Sequence[str],
    seen: tuple[Side, Side, Side],
    copied: Memorisation,
    found: Sequence[report.Table],
) -> report.Report:
    """The page: the first pictures by number, the pairs most alike, then the tables."""
    made, real, trained = seen
    samples = [
        report.Sample(image=side.pictures[i], caption=prompts[i], group=group)
        for group, side in (("Samples, the first by number", made), ("The real images of these captions", real))
        for i in range(min(config.shown, len(prompts)))
    ]
    strips = [
        report.Strip(
            title=f"Sample {i}",
            group="Samples nearest to a training image of another patient",
            images=(
                report.Sample(image=made.pictures[i], caption="sample"),
                report.Sample(image=trained.pictures[copied.neighbour[i]], caption="training image"),
            ),
            metrics={"distance": f"{copied.distance[i]:.3g}"},
        )
        for i in copied.nearest_first()[: config.shown // 2]
        if np.isfinite(copied.distance[i])
    ]
    fid: Estimate = found[0].rows[1][1]
    floor: Estimate = found[0].rows[0][1]
    return report.Report(
        title=config.title,
        summary=(
            f"{len(prompts)} captions of the split {config.split} of {config.data}, sampled by {config.model}, against "
            f"{len(real.pictures)} real images."
        ),
        headline=((f"{fid.value:.3g}", f"FID in the classifier's features ({floor.value:.3g} for other real images)"),),
        samples=tuple(samples),
        strips=tuple(strips),
        tables=tuple(found),
    )
