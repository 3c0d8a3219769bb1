"""Editors and causal models side by side: `prism eval benchmark --config NAME [--option value]`.

Language-guided editors (a Stable Diffusion, an inversion, strengths, perhaps masks), structural causal models (an image
mechanism and attribute mechanisms), translators, and baselines (unchanged image, autoencoder alone, true
counterfactual) get the same 8-bit images and edits, and the same judges evaluate their counterfactuals. Writes
`report.html`, `metrics.json`, `metrics.csv` and `counterfactuals.parquet` (one row per counterfactual) into the run
folder. A stopped run resumes: images that exist are not generated again, and methods can be added.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from prism_jax import config as configs
from prism_jax import report
from prism_jax.data import transforms
from prism_jax.data.captions.templates import PLAIN, Template
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation import judges as evaluation_judges
from prism_jax.evaluation.benchmark import editors, export, ganterfactual, judge, measure, methods, scm
from prism_jax.evaluation.benchmark import ground_truth as benchmark_ground_truth
from prism_jax.evaluation.benchmark import report as benchmark_report
from prism_jax.evaluation.benchmark.generate import Generated, generate
from prism_jax.evaluation.benchmark.ground_truth import TrueCounterfactuals
from prism_jax.evaluation.benchmark.judge import JudgePanel
from prism_jax.evaluation.benchmark.measure import BenchmarkInputs
from prism_jax.evaluation.benchmark.methods import Baseline, CausalModel, Editor, Method, Translator
from prism_jax.evaluation.benchmark.queries import Query, fitted, queries_of, with_known_parents
from prism_jax.evaluation.benchmark.tables import Results
from prism_jax.evaluation.edited_cohort import labels
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.judges import Judge
from prism_jax.evaluation.subjects import Images, choose, images_of, slug
from prism_jax.metrics.perceptual import perceptual_distance
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.weights.files import fingerprint

FIXED = ("data", "split", "fit", "wording", "edits", "subjects_per_edit", "one_edit_per_subject")  # in one run folder
METHODS, OLD_METHODS = "methods", "rows"  # folder of the images; its name in runs before 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkRun:
    """Options of a benchmark."""

    run: str = "runs/benchmark"
    """Run folder."""
    title: str = "Language-guided editing and a structural causal model"
    """Title of the report."""
    data: str = "data/phantom"
    """Folder that `prism data build` wrote, or a CSV of image files with their captions."""
    split: str = "test"
    fit: transforms.Fit = "pad"
    wording: Template = PLAIN
    edits: tuple[EditSpec, ...] = ()
    subjects_per_edit: int | None = None
    """Subjects of each edit: the first it applies to; None: all."""
    one_edit_per_subject: bool = False
    """Every subject gets one edit only: as many different people as counterfactuals."""
    methods: tuple[Method, ...] = ()
    size: int = 128
    """Side in pixels at which all are compared; images of another size are resized once, as 8 bits."""
    judges: tuple[Judge, ...] = ()
    """Two or more classifiers that no method was trained with; the first one's features give FID and minimality."""
    lpips: str | None = None
    """Folder of LPIPS weights; None: the distance of the first judge's features, named so."""
    reference_set_size: int | None = None
    """Real images for FID and minimality, the first of the split; None: all."""
    batch_size: int = 8
    """Images per batch."""
    bootstrap: BootstrapConfig = BootstrapConfig(resamples=1000)
    shown: int = 3
    """Subjects of each edit whose images are in the report, drawn at random over patients."""


def main(config: BenchmarkRun) -> None:
    """Generates the missing images, measures all of them, and writes the run folder."""
    judges, columns = check(config)
    run = Path(config.run)
    images = images_for(config)
    subjects = choose(images, config.edits, config.subjects_per_edit, once=config.one_edit_per_subject)
    queries = queries_of(subjects, config.edits, originals_of(images, config.fit))
    configs.write(config, run)
    phantom = ground_truth.phantom_config(config.data)
    truths = None if phantom is None else benchmark_ground_truth.of(queries, config.edits, phantom)
    distance = perceptual_distance(next(iter(judges.values())), lpips_folder=config.lpips)
    panel = JudgePanel(judges=judges, columns=columns, distance=distance.distance, batch_size=config.batch_size)
    generated = {method: generate_method(config, method, queries, truths) for method in config.methods}
    inputs = inputs_of(config, images, queries, truths, panel)
    seeds = {m.name: [measure.measure(seed, m.mode, inputs) for seed in each] for m, each in generated.items()}
    results = Results(config=config, seeds=seeds, inputs=inputs, distance=distance)
    export.write(results, run)
    page = report.save(benchmark_report.report_of(results), run)
    print(f"{page}: {len(config.methods)} methods, {len(queries)} counterfactuals each", file=sys.stderr)


def check(config: BenchmarkRun) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The judges and their attributes; ValueError for options that do not fit, before anything slow."""
    if not config.edits or any(edit.is_negative_control for edit in config.edits):
        raise ValueError(
            "`edits` must list at least one real edit and no negative control; the null edit is always included"
        )
    names = [slug(edit.name) for edit in config.edits]
    if len(set(names)) < len(names):
        raise ValueError(f"edits are {names}; name each once")
    if config.batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {config.batch_size}")
    judge.scales(config.size)
    methods.check(config.methods, is_phantom=ground_truth.phantom_config(config.data) is not None)
    for method in config.methods:
        if isinstance(method, Translator):
            ganterfactual.check(method, config.edits, config.judges)
    if len({slug(method.name) for method in config.methods}) < len(config.methods):
        raise ValueError(f"methods {[method.name for method in config.methods]} have equal file names; change one")
    configs.check_same(config, config.run, FIXED, holds="images", kept=images_folder(config).name)
    return evaluation_judges.load(config.judges, ())


def images_folder(config: BenchmarkRun) -> Path:
    """The folder of all generated images."""
    old = Path(config.run) / OLD_METHODS
    return old if old.is_dir() else Path(config.run) / METHODS


def images_for(config: BenchmarkRun) -> Images:
    """The images that every method applies to."""
    graphs = [methods.graph_of(method) for method in config.methods if isinstance(method, CausalModel)]
    return with_known_parents(images_of(config.data, config.split, config.wording), graphs)


def originals_of(images: Images, fit: transforms.Fit) -> Callable[[int, int], np.ndarray]:
    """The image of a subject's index at a size, uint8, resized from the stored one, as in training."""
    decoded = cache(lambda index: transforms.decode(images.read(index)))
    return cache(lambda index, size: fitted(decoded(index), size, fit))


def generate_method(
    config: BenchmarkRun, method: Method, queries: list[Query], truths: TrueCounterfactuals | None
) -> list[Generated]:
    """The images of a method, seed by seed."""
    generated = []
    at = images_folder(config) / slug(method.name)
    for k, seed in enumerate(seeds := methods.seeds_of(method)):
        settings = dataclasses.asdict(seed) | {"weights": [fingerprint(folder) for folder in seed.folders]}
        if isinstance(method, Baseline):
            settings |= {"size": config.size}
        generated.append(
            generate(
                lambda seed=seed: editor_of(config, seed, queries, truths),
                queries,
                at / f"seed-{k + 1}" if isinstance(method, CausalModel) else at,
                settings=json.loads(json.dumps(settings, default=str)),
                batch_size=config.batch_size,
                name=method.name + (f", seed {k + 1} of {len(seeds)}" if len(seeds) > 1 else ""),
            )
        )
    return generated


def editor_of(
    config: BenchmarkRun, method: Method, queries: list[Query], truths: TrueCounterfactuals | None
) -> editors.CounterfactualEditor:
    """Loads a method; a causal model has one image mechanism here."""
    if isinstance(method, CausalModel):
        return scm.load(method)
    if isinstance(method, Translator):
        return ganterfactual.load(method, queries)
    if isinstance(method, Editor):
        return editors.text_editor(method, queries, truths)
    return editors.baseline_editor(method, queries, truths, config.size)


def inputs_of(
    config: BenchmarkRun,
    images: Images,
    queries: list[Query],
    truths: TrueCounterfactuals | None,
    panel: JudgePanel,
) -> BenchmarkInputs:
    """The inputs that all methods are measured with."""
    pixels = np.stack([query.original(config.size) for query in queries])
    real = [images.subject(i) for i in range(len(images))][: config.reference_set_size]
    reference_set = [fitted(transforms.decode(images.read(each.index)), config.size, config.fit) for each in real]
    return BenchmarkInputs(
        queries=queries,
        size=config.size,
        panel=panel,
        originals=pixels,
        predictions=panel.predict(pixels),
        reference_set=panel.predict(np.stack(reference_set)),
        reference_values=labels([each.attributes for each in real], panel.columns),
        reference_patients=np.array([each.patient for each in real]),
        truths=None if truths is None else truths.fitted(config.size),
        bootstrap=config.bootstrap,
    )
