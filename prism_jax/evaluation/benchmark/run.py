"""Editors and causal models side by side: `python -m eval.benchmark --config configs/NAME.py [--option value]`.

Language-guided editors (a Stable Diffusion, an inversion, strengths, perhaps masks), structural causal models (an image
mechanism and attribute mechanisms), and brackets (nothing done, the autoencoder alone, the truth) get the same 8-bit
pictures and the same edits, and the same judges look at what they make. Writes `report.html`, `comparison.json`,
`comparison.csv` and `pictures.parquet` (a line a counterfactual) into the run folder. A stopped run goes on where it
was: the pictures of a finished row are not made again, and rows can be added.
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
from prism_jax.evaluation.benchmark import (
    editors,
    ganterfactual,
    methods,
    queries,
)
from prism_jax.evaluation.benchmark import (
    export as benchmark_export,
)
from prism_jax.evaluation.benchmark import (
    generate as benchmark_generate,
)
from prism_jax.evaluation.benchmark import (
    ground_truth as benchmark_ground_truth,
)
from prism_jax.evaluation.benchmark import (
    judge as benchmark_judge,
)
from prism_jax.evaluation.benchmark import (
    measure as benchmark_measure,
)
from prism_jax.evaluation.benchmark import (
    report as benchmark_report,
)
from prism_jax.evaluation.benchmark import (
    scm as benchmark_scm,
)
from prism_jax.evaluation.benchmark.generate import Made
from prism_jax.evaluation.benchmark.ground_truth import Truths
from prism_jax.evaluation.benchmark.judge import Bench
from prism_jax.evaluation.benchmark.measure import Shared
from prism_jax.evaluation.benchmark.methods import CausalModel, Editor, Row, Translator
from prism_jax.evaluation.benchmark.queries import Ask, fitted
from prism_jax.evaluation.benchmark.tables import Results
from prism_jax.evaluation.counterfactuals.cohort import slug
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.judges import Judge
from prism_jax.evaluation.subjects import Images, choose, images_of
from prism_jax.metrics.perceptual import PerceptualDistance, perceptual_distance
from prism_jax.report import numbers
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.weights.files import fingerprint

# What all rows of one folder share.
DECISIVE = ("data", "split", "fit", "wording", "edits", "subjects_per_edit", "once")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkRun:
    """Everything a comparison depends on."""

    run: str = "runs/comparison"
    title: str = "Language-guided editing and a structural causal model"
    data: str = "data/phantom"
    """Folder that `prism data build` made, or a CSV of image files with their captions."""
    split: str = "test"
    fit: transforms.Fit = "pad"
    wording: Template = PLAIN
    edits: tuple[EditSpec, ...] = ()
    subjects_per_edit: int | None = None
    """Subjects of each change: the first it applies to; None: all."""
    once: bool = False
    """Every subject is asked for one change alone: as many different people as counterfactuals."""
    rows: tuple[Row, ...] = ()
    size: int = 128
    """Side in pixels at which all are compared; what a row makes of another size is resized once, as 8 bits."""
    judges: tuple[Judge, ...] = ()
    """Two or more classifiers that had no part in any row; the first one's features give FID and minimality."""
    lpips: str | None = None
    """Folder of LPIPS weights; None: the distance of the first judge's features, named so."""
    bank: int | None = None
    """Real pictures that FID and minimality look at, the first of the split; None: all."""
    batch_size: int = 8
    bootstrap: BootstrapConfig = BootstrapConfig(resamples=1000)
    shown: int = 3
    """Subjects of each change in the report's pictures: the first by number."""


def main(config: BenchmarkRun) -> None:
    """Makes what is not made yet, measures all of it, and writes the run folder."""
    judges, columns = check(config)
    run = Path(config.run)
    images = images_for(config)
    wanted = queries.asks_of(choose(images, config.edits, config.subjects_per_edit, once=config.once), config.edits)
    configs.write(config, run)
    phantom = ground_truth.phantom_config(config.data)
    known = None if phantom is None else benchmark_ground_truth.of(wanted, config.edits, phantom)
    original = originals_of(images, wanted, config.fit)
    distance = perceptual_distance(next(iter(judges.values())), lpips_folder=config.lpips)
    bench = Bench(judges=judges, columns=columns, distance=distance.distance, batch_size=config.batch_size)
    made = {row.name: made_row(config, row, wanted, original, known) for row in config.rows}
    shared = shared_of(config, images, wanted, original, known, bench)
    results = results_of(config, made, shared, distance)
    document = benchmark_report.document_of(results, title=config.title, run=run, shown=config.shown)
    benchmark_export.write(results, run)
    numbers.write(document.tables, run / "comparison.json")
    report.write(document, run / "report.html")
    print(f"{run / 'report.html'}: {len(config.rows)} rows, {len(wanted)} counterfactuals each", file=sys.stderr)


def check(config: BenchmarkRun) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The judges and what they know; ValueError for anything that does not fit, before anything slow."""
    if not config.edits or any(edit.is_negative_control for edit in config.edits):
        raise ValueError("changes are none, or placebos; name edits: what changes nothing is asked of every row anyway")
    names = [slug(edit.name) for edit in config.edits]
    if len(set(names)) < len(names):
        raise ValueError(f"changes are {names}; name each once")
    if config.batch_size < 1:
        raise ValueError(f"batch_size {config.batch_size} holds no picture; use 1 or more")
    benchmark_judge.scales(config.size)
    methods.check(config.rows, is_phantom=ground_truth.phantom_config(config.data) is not None)
    for row in config.rows:
        if isinstance(row, Translator):
            ganterfactual.check(row, config.edits, config.judges)
    if len({slug(row.name) for row in config.rows}) < len(config.rows):
        raise ValueError(f"rows {[row.name for row in config.rows]} do not differ as file names; change one")
    configs.check_same(config, config.run, DECISIVE, holds="pictures", kept="rows")
    return evaluation_judges.load(config.judges, ())


def images_for(config: BenchmarkRun) -> Images:
    """The images that every row can be asked about."""
    graphs = [methods.graph_of(row) for row in config.rows if isinstance(row, CausalModel)]
    return queries.known(images_of(config.data, config.split, config.wording), graphs)


def originals_of(images: Images, wanted: list[Ask], fit: transforms.Fit) -> Callable[[str, int], np.ndarray]:
    """The picture of a subject's id at a size, uint8: each time from the stored one, as trainings see it."""
    places = {ask.subject.id: ask.subject.index for ask in wanted}
    decoded = cache(lambda name: transforms.decode(images.read(places[name])))
    return cache(lambda name, size: fitted(decoded(name), size, fit))


def made_row(
    config: BenchmarkRun,
    row: Row,
    wanted: list[Ask],
    originals: Callable[[str, int], np.ndarray],
    known: Truths | None,
) -> list[Made]:
    """The pictures of a row, seed by seed."""
    found = []
    for k, folder in enumerate(row.folders):
        own = dataclasses.replace(row, images=(folder,)) if isinstance(row, CausalModel) else row
        weights = [fingerprint(f) for f in (folder, getattr(row, "mechanisms", ""), *getattr(row, "models", ())) if f]
        settings = json.loads(json.dumps(dataclasses.asdict(own) | {"weights": weights}, default=str))
        at = Path(config.run) / "rows" / slug(row.name)
        found.append(
            benchmark_generate.make(
                lambda own=own: maker_of(config, own, wanted, originals, known),
                wanted,
                originals,
                at / f"seed-{k + 1}" if isinstance(row, CausalModel) else at,
                settings=settings
                | ({} if isinstance(row, Editor | CausalModel | Translator) else {"size": config.size}),
                batch_size=config.batch_size,
                name=row.name if len(row.folders) == 1 else f"{row.name}, seed {k + 1} of {len(row.folders)}",
            )
        )
    return found


def maker_of(
    config: BenchmarkRun,
    row: Row,
    wanted: list[Ask],
    originals: Callable[[str, int], np.ndarray],
    known: Truths | None,
) -> editors.Maker:
    """What makes the pictures of a row with one image mechanism at most."""
    if isinstance(row, CausalModel):
        return benchmark_scm.load(row, row.images[0])
    if isinstance(row, Translator):
        return ganterfactual.load(row, wanted)
    if isinstance(row, Editor):
        return editors.text_editor(row, wanted, known)
    true = lambda mode: (known.fitted_pictures(mode, config.size, config.fit), known.attributes[mode])
    return editors.bracket(row, wanted, originals, true, config.size)


def shared_of(
    config: BenchmarkRun,
    images: Images,
    wanted: list[Ask],
    originals: Callable[[str, int], np.ndarray],
    known: Truths | None,
    bench: Bench,
) -> Shared:
    """What all rows are measured with."""
    pictures = np.stack([originals(ask.subject.id, config.size) for ask in wanted])
    real = [images.subject(i) for i in range(len(images))][: config.bank]
    bank = np.stack([fitted(transforms.decode(images.read(one.index)), config.size, config.fit) for one in real])
    return Shared(
        asks=wanted,
        size=config.size,
        bench=bench,
        originals=pictures,
        seen=bench.look(pictures),
        bank=bench.look(bank),
        bank_values=benchmark_measure.values_of([one.attributes for one in real], bench.columns),
        bank_patients=np.array([one.patient for one in real]),
        truths=known,
        true_pictures={}
        if known is None
        else {mode: known.fitted_pictures(mode, config.size, config.fit) for mode in benchmark_ground_truth.MODES},
        masks=None if known is None else known.fitted_masks(config.size),
    )


def results_of(
    config: BenchmarkRun, made: dict[str, list[Made]], shared: Shared, distance: PerceptualDistance
) -> Results:
    """Every row as it was measured."""
    return Results(
        rows=config.rows,
        seeds={
            row.name: [benchmark_measure.measure(one, row.mode, shared) for one in made[row.name]]
            for row in config.rows
        },
        shared=shared,
        edits=[edit.name for edit in config.edits],
        distance=distance,
        config=config.bootstrap,
    )
