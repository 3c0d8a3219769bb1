"""Does a structural causal model obey what counterfactuals must? `python -m eval.axioms --config configs/NAME.py ...`.

Abducts, acts and predicts for every image of a split, setting each attribute in turn and some at random, and measures
effectiveness (do independent predictors, and rulers where there are some, find what was set and what follows?),
composition (does nothing change where nothing is set?) and reversibility (is the way back the way there?): the axioms
of Galles and Pearl as Monteiro et al. (ICLR 2023) and Melistas et al. (NeurIPS 2024) measure them, over image
mechanisms that differ in their seed. Writes `report.html`, `axioms.json` and `axioms.csv` into the run folder, whose
`made/` holds the counterfactuals: a stopped run goes on where it was.
"""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from prism_jax import config as configs
from prism_jax import report
from prism_jax.data import transforms
from prism_jax.data.loading import pipeline
from prism_jax.data.sources import morphomnist
from prism_jax.evaluation.axioms import interventions
from prism_jax.evaluation.axioms import measure as axioms_measure
from prism_jax.evaluation.axioms import report as axioms_report
from prism_jax.evaluation.axioms.generate import Imagination, Imagined
from prism_jax.evaluation.axioms.interventions import Do
from prism_jax.evaluation.axioms.measure import Bench
from prism_jax.evaluation.axioms.report import Results
from prism_jax.report import numbers
from prism_jax.scm import folder, observations, observed, predictions
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.graph import Graph
from prism_jax.scm.image_mechanism import CounterfactualConfig
from prism_jax.scm.observed import Digits, Observed
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.weights import hvae
from prism_jax.weights import predictors as predictor_weights
from prism_jax.weights.files import fingerprint

# What the pictures in a run folder depend on.
DECISIVE = ("data", "images", "mechanisms", "counterfactual", "t_us", "cycles", "cycled", "is_other", "seed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """Part of a data set that `prism data build` made."""

    folder: str = "data/phantom"
    split: Literal["train", "val", "test"] = "test"
    size: int = 64
    fit: transforms.Fit = "pad"
    limit: int | None = None
    """Take only so many examples, the first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AxiomsRun:
    """Everything a run of this program depends on."""

    run: str = "runs/axioms"
    title: str = "Counterfactuals of a structural causal model"
    data: Digits | Built = Built()
    """The images. Values that are set are drawn from those of the split "train"."""
    images: tuple[str, ...] = ()
    """Folders of image mechanisms that differ in their seed, `train.image_mechanism`'s RUN/model."""
    mechanisms: str = "runs/mechanisms/model"
    """Folder of the attribute mechanisms, `train.mechanisms`' RUN/model."""
    predictors: str = "runs/predictors/model"
    """Folder of predictors, `train.predictors`' RUN/model, which had no part in any training of these."""
    counterfactual: CounterfactualConfig = CounterfactualConfig()
    is_other: bool = False
    """Set values that differ from the factual: another class, another tenth of the training values."""
    t_us: tuple[float, ...] = (0.0, 0.1, 1.0)
    """Scales of the noise of pixels at which composition is measured; with 1 it measures nothing."""
    cycles: tuple[int, ...] = (1, 10)
    cycled: int | None = None
    """Images whose composition is measured, the first; None: all."""
    seed: int = 0
    batch_size: int = 64
    bootstrap: BootstrapConfig = BootstrapConfig(resamples=1000)
    shown: int = 4
    """Images of each do in the report, the first."""


def main(config: AxiomsRun) -> None:
    """Makes what is not made yet, measures it, and writes the run folder."""
    mechanisms, bench = check(config)
    graph = mechanisms.graph
    data = load(config.data, graph)
    mechanisms.check(data.attributes)
    configs.write(config, config.run)
    marginal = marginal_of(config.data, graph)
    asked = interventions.of_graph(graph, data.attributes, marginal, seed=config.seed, is_other=config.is_other)
    patients = np.asarray(data.ids if data.subjects is None else data.subjects)
    bench = dataclasses.replace(bench, patients=patients)
    few = first(data, config.cycled)
    made: list[Mapping[str, Imagined]] = []
    rounds: list[Mapping[float, Mapping[int, np.ndarray]]] = []
    for name in config.images:
        weights = "-".join(fingerprint(each)[:12] for each in (name, config.mechanisms))
        imagination = Imagination(
            image=hvae.load(name),
            mechanisms=mechanisms,
            config=config.counterfactual,
            batch_size=config.batch_size,
            seed=config.seed,
            folder=Path(config.run) / "made" / weights,  # trained again, they make their own
        )
        made.append({do.name: imagination.under(do, data) for do in asked})
        rounds.append({t_u: imagination.cycled(few, t_u, config.cycles) for t_u in config.t_us})
    mediates = any(hvae.load(name).config.conditional_prior for name in config.images)
    results = results_of(bench, data, few, asked, made, rounds, mediates)
    document = axioms_report.document_of(results, config)
    numbers.write(document.tables, Path(config.run) / "axioms.json")
    report.write(document, Path(config.run) / "report.html")
    print(f"{Path(config.run) / 'report.html'}: {len(asked)} interventions on {len(data.ids)} images", file=sys.stderr)


def check(config: AxiomsRun) -> tuple[AttributeModel, Bench]:
    """The attribute mechanisms and the bench; ValueError for anything that does not fit, before anything slow."""
    if not config.images or config.batch_size < 1 or (config.cycled is not None and config.cycled < 1):
        raise ValueError(
            f"images {config.images}, batch_size {config.batch_size}, cycled {config.cycled}: name an image mechanism, "
            "and use 1 or more of the others"
        )
    if min(config.t_us, default=-1) < 0 or min(config.cycles, default=0) < 1:
        raise ValueError(f"t_us {config.t_us} from 0 on and cycles {config.cycles} from 1 on are needed")
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
            raise ValueError(f"{name} has no mediators: its effect is total; use --counterfactual.effect total")
    configs.check_same(config, config.run, DECISIVE, holds="pictures", kept="made")
    return mechanisms, Bench(
        graph=mechanisms.graph,
        predictor=network,
        measures=axioms_measure.rulers(mechanisms.graph),
        patients=np.zeros(0),
        batch_size=config.batch_size,
        bootstrap=config.bootstrap,
    )


def load(data: Digits | Built, graph: Graph) -> Observed:
    """The images of which everything in `graph` is known."""
    if isinstance(data, Digits):
        return observed.of_digits(data, graph)
    source, name = pipeline.open_split(data.folder, data.split), f"{data.folder} {data.split}"
    examples = [source[i] for i in range(min(len(source), data.limit or len(source)))]
    return observed.of_examples(examples, graph, size=data.size, fit=data.fit, name=name)


def marginal_of(data: Digits | Built, graph: Graph) -> dict[str, np.ndarray]:
    """What attributes are in training, [m] each."""
    if isinstance(data, Digits):
        return morphomnist.read(data.folder, "train").attributes
    source = pipeline.open_split(data.folder, "train")
    rows = (observations.observe(source[i].attributes, graph) for i in range(len(source)))
    return observations.columns([row for row in rows if row is not None], graph)


def first(data: Observed, count: int | None) -> Observed:
    """The first `count` images; None: all."""
    rows = slice(count)
    return Observed(
        images=data.images[rows],
        parents=data.parents[rows],
        attributes={name: column[rows] for name, column in data.attributes.items()},
        ids=data.ids[rows],
        subjects=None if data.subjects is None else data.subjects[rows],
    )


def results_of(
    bench: Bench,
    data: Observed,
    few: Observed,
    asked: Sequence[Do],
    made: Sequence[Mapping[str, Imagined]],
    rounds: Sequence[Mapping[float, Mapping[int, np.ndarray]]],
    mediates: bool,
) -> Results:
    """Everything measured."""
    short = dataclasses.replace(bench, patients=bench.patients[: len(few.ids)])
    return Results(
        bench=bench,
        data=data,
        few=few,
        dos=asked,
        made=made,
        real_predicted=bench.predicted(data.images, data.attributes),
        real_measured=bench.measured(data.images, data.attributes),
        seeds=[{do.name: axioms_measure.measure(bench, data, do, one[do.name]) for do in asked} for one in made],
        composition=[
            {
                (t_u, m): short.distance(pictures, few.images)
                for t_u, found in one.items()
                for m, pictures in found.items()
            }
            for one in rounds
        ],
        mediates=mediates,
    )
