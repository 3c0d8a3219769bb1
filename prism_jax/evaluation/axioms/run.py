"""Axioms of counterfactuals of a structural causal model: `prism eval axioms --config NAME ...`.

Generates counterfactuals of every image of a split, intervening on each attribute in turn and on random sets, and
measures effectiveness (agreement of independent predictors, and of pixel measures where they exist), composition and
reversibility: the axioms of Galles and Pearl as measured by Monteiro et al. (ICLR 2023) and Melistas et al. (NeurIPS
2024), over image mechanisms that differ in their seed. Writes `report.html`, `metrics.json` and `metrics.csv` into the
run folder, whose `counterfactuals/` holds the images: a stopped run resumes.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from prism_jax import config as configs
from prism_jax import report
from prism_jax.data.loading import pipeline
from prism_jax.data.sources import morphomnist
from prism_jax.evaluation.axioms import interventions
from prism_jax.evaluation.axioms import measure as axioms_measure
from prism_jax.evaluation.axioms import report as axioms_report
from prism_jax.evaluation.axioms.generate import CounterfactualGenerator
from prism_jax.evaluation.axioms.interventions import Intervention
from prism_jax.evaluation.axioms.measure import Evaluator
from prism_jax.evaluation.axioms.report import ModelResults, Results
from prism_jax.scm import folder, observations, predictions
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.graph import Graph
from prism_jax.scm.image_mechanism import CounterfactualConfig
from prism_jax.scm.observed import Digits, Observed
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.training import observed_images
from prism_jax.training.examples import Data
from prism_jax.weights import hvae
from prism_jax.weights import predictors as predictor_weights
from prism_jax.weights.files import fingerprint

FIXED = (  # in one run folder
    "data",
    "images",
    "mechanisms",
    "counterfactual",
    "t_us",
    "cycles",
    "composition_limit",
    "is_different",
    "seed",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AxiomsRun:
    """Options of the evaluation of axioms."""

    run: str = "runs/axioms"
    """Run folder."""
    title: str = "Counterfactuals of a structural causal model"
    """Title of the report."""
    data: Digits | Data = Data(split="test", size=64)
    """The images. New values are drawn from those of the split "train"."""
    images: tuple[str, ...] = ()
    """Folders of image mechanisms that differ in their seed, RUN/model of train.image_mechanism."""
    mechanisms: str = "runs/mechanisms/model"
    """Folder of the attribute mechanisms, RUN/model of train.mechanisms."""
    predictors: str = "runs/predictors/model"
    """Folder of predictors, RUN/model of train.predictors, not used in the training of the mechanisms."""
    counterfactual: CounterfactualConfig = CounterfactualConfig()
    is_different: bool = False
    """New values differ from the factual ones: another class, another decile of the training values."""
    t_us: tuple[float, ...] = (0.0, 0.1, 1.0)
    """Scales of pixel noise at which composition is measured; with 1 it is trivially 0."""
    cycles: tuple[int, ...] = (1, 10)
    """Numbers of null interventions in a row after which composition is measured."""
    composition_limit: int | None = None
    """Number of images whose composition is measured, the first; None: all."""
    seed: int = 0
    """Seed of interventions and noise."""
    batch_size: int = 64
    """Images per batch."""
    bootstrap: BootstrapConfig = BootstrapConfig(resamples=1000)
    shown: int = 4
    """Images of each intervention in the report, the first."""


def main(config: AxiomsRun) -> None:
    """Generates the missing counterfactuals, measures them, and writes the run folder."""
    mechanisms, evaluator = check(config)
    graph = mechanisms.graph
    data = observed_images.load(config.data, graph)
    mechanisms.check(data.attributes)
    configs.write(config, config.run)
    marginal = marginal_of(config.data, graph)
    drawn = interventions.of_graph(graph, data.attributes, marginal, seed=config.seed, is_different=config.is_different)
    patients = np.asarray(data.subjects)
    evaluator = dataclasses.replace(evaluator, patients=patients)
    few = first(data, config.composition_limit)
    results = Results(
        graph=mechanisms.graph,
        data=data,
        composition_images=len(few.ids),
        interventions=drawn,
        real_predicted=evaluator.predicted(data.images, data.attributes),
        real_measured=evaluator.measured(data.images, data.attributes),
        models=[of_model(name, config, mechanisms, evaluator, data, few, drawn) for name in config.images],
        mediates=any(hvae.load(name).config.conditional_prior for name in config.images),
    )
    page = report.save(axioms_report.report_of(results, config), config.run)
    print(f"{page}: {len(drawn)} interventions on {len(data.ids)} images", file=sys.stderr)


def of_model(
    name: str,
    config: AxiomsRun,
    mechanisms: AttributeModel,
    evaluator: Evaluator,
    data: Observed,
    few: Observed,
    drawn: Sequence[Intervention],
) -> ModelResults:
    """Counterfactuals and measurements of the image mechanism in the folder `name`; composition of the images `few`."""
    weights = "-".join(fingerprint(each)[:12] for each in (name, config.mechanisms))
    generator = CounterfactualGenerator(
        image=hvae.load(name),
        mechanisms=mechanisms,
        config=config.counterfactual,
        batch_size=config.batch_size,
        seed=config.seed,
        folder=counterfactuals_folder(config) / weights,  # of these weights only
    )
    counterfactuals = {each.name: generator.generate(each, data) for each in drawn}
    rounds = {t_u: generator.null_cycles(few, t_u, config.cycles) for t_u in config.t_us}
    short = dataclasses.replace(evaluator, patients=evaluator.patients[: len(few.ids)])
    return ModelResults(
        counterfactuals=counterfactuals,
        measured={
            each.name: axioms_measure.measure(evaluator, data, each, counterfactuals[each.name]) for each in drawn
        },
        composition={
            (t_u, m): short.distance(images, few.images)
            for t_u, by_round in rounds.items()
            for m, images in by_round.items()
        },
    )


def check(config: AxiomsRun) -> tuple[AttributeModel, Evaluator]:
    """The attribute mechanisms and the evaluator; ValueError for options that do not fit, before anything slow."""
    if (
        not config.images
        or config.batch_size < 1
        or (config.composition_limit is not None and config.composition_limit < 1)
    ):
        raise ValueError(
            f"images {config.images}, batch_size {config.batch_size}, composition_limit {config.composition_limit}: "
            "name an image mechanism, and use 1 or more for the others"
        )
    if min(config.t_us, default=-1) < 0 or min(config.cycles, default=0) < 1:
        raise ValueError(f"t_us must be 0 or more, got {config.t_us}; cycles 1 or more, got {config.cycles}")
    mechanisms = folder.load(config.mechanisms)
    network = predictor_weights.load(config.predictors)
    predictions.check(network.config, mechanisms.graph)
    for name in config.images:
        image = hvae.load(name).config
        if (image.size, image.parents) != (config.data.size, mechanisms.graph.width):
            raise ValueError(
                f"{name} takes {image.size} pixels and {image.parents} channels of parents, data and mechanisms give "
                f"{config.data.size} and {mechanisms.graph.width}; train and measure on one graph and size"
            )
        if config.counterfactual.effect != "total" and not image.conditional_prior:
            raise ValueError(
                f"{name} has no conditional prior, so only a total effect; use --counterfactual.effect total"
            )
    configs.check_same(config, config.run, FIXED, holds="images", kept=counterfactuals_folder(config).name)
    return mechanisms, Evaluator(
        graph=mechanisms.graph,
        predictor=network,
        measures=axioms_measure.pixel_measures(mechanisms.graph),
        patients=np.zeros(0),
        batch_size=config.batch_size,
        bootstrap=config.bootstrap,
    )


def counterfactuals_folder(config: AxiomsRun) -> Path:
    """The folder of the generated images; "made" in runs before 0.2."""
    old = Path(config.run) / "made"
    return old if old.is_dir() else Path(config.run) / "counterfactuals"


def marginal_of(data: Digits | Data, graph: Graph) -> dict[str, np.ndarray]:
    """The attributes of the training split, [m] each."""
    if isinstance(data, Digits):
        return morphomnist.read(data.folder, "train").attributes
    source = pipeline.open_split(data.folder, "train")
    return observations.observe_all(source, graph, f"{data.folder} train")[1]


def first(data: Observed, count: int | None) -> Observed:
    """The first `count` images; None: all."""
    rows = slice(count)
    return Observed(
        images=data.images[rows],
        parents=data.parents[rows],
        attributes={name: column[rows] for name, column in data.attributes.items()},
        ids=data.ids[rows],
        subjects=data.subjects[rows],
    )
