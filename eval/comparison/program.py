"""Editors and causal models side by side: `python -m eval.comparison --config configs/NAME.py [--option value]`.

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

from eval import judging, truth
from eval.changes import Change
from eval.cohort import slug
from eval.comparison import asks, causal, makers, making, measures, page, records, rows, seeing, translating, truths
from eval.comparison.asks import Ask, fitted
from eval.comparison.making import Made
from eval.comparison.measures import Shared
from eval.comparison.rows import CausalModel, Editor, Row, Translator
from eval.comparison.seeing import Bench
from eval.comparison.tables import Results
from eval.comparison.truths import Truths
from eval.judging import Judge
from eval.subjects import Images, choose, images_of
from prism_jax import config as configs
from prism_jax import report
from prism_jax.data import transforms
from prism_jax.data.templates import PLAIN, Template
from prism_jax.metrics.intervals import BootstrapConfig
from prism_jax.metrics.perceptual import PerceptualDistance, perceptual_distance
from prism_jax.report import numbers
from prism_jax.weights.files import fingerprint

# What all rows of one folder share.
DECISIVE = ("data", "split", "fit", "wording", "changes", "per_change", "once")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparisonRun:
    """Everything a comparison depends on."""

    run: str = "runs/comparison"
    title: str = "Language-guided editing and a structural causal model"
    data: str = "data/phantom"
    """Folder that `prism data build` made, or a CSV of image files with their captions."""
    split: str = "test"
    fit: transforms.Fit = "pad"
    wording: Template = PLAIN
    changes: tuple[Change, ...] = ()
    per_change: int | None = None
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


def main(config: ComparisonRun) -> None:
    """Makes what is not made yet, measures all of it, and writes the run folder."""
    judges, columns = check(config)
    run = Path(config.run)
    images = images_for(config)
    wanted = asks.asks_of(choose(images, config.changes, config.per_change, once=config.once), config.changes)
    configs.write(config, run)
    phantom = truth.phantom_config(config.data)
    known = None if phantom is None else truths.of(wanted, config.changes, phantom)
    original = originals_of(images, wanted, config.fit)
    distance = perceptual_distance(next(iter(judges.values())), lpips_folder=config.lpips)
    bench = Bench(judges=judges, columns=columns, distance=distance.distance, batch_size=config.batch_size)
    made = {row.name: made_row(config, row, wanted, original, known) for row in config.rows}
    shared = shared_of(config, images, wanted, original, known, bench)
    results = results_of(config, made, shared, distance)
    document = page.document_of(results, title=config.title, run=run, shown=config.shown)
    records.write(results, run)
    numbers.write(document.tables, run / "comparison.json")
    report.write(document, run / "report.html")
    print(f"{run / 'report.html'}: {len(config.rows)} rows, {len(wanted)} counterfactuals each", file=sys.stderr)


def check(config: ComparisonRun) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The judges and what they know; ValueError for anything that does not fit, before anything slow."""
    if not config.changes or any(change.is_placebo for change in config.changes):
        raise ValueError("changes are none, or placebos; name edits: what changes nothing is asked of every row anyway")
    names = [slug(change.name) for change in config.changes]
    if len(set(names)) < len(names):
        raise ValueError(f"changes are {names}; name each once")
    if config.batch_size < 1:
        raise ValueError(f"batch_size {config.batch_size} holds no picture; use 1 or more")
    seeing.scales(config.size)
    rows.check(config.rows, is_phantom=truth.phantom_config(config.data) is not None)
    for row in config.rows:
        if isinstance(row, Translator):
            translating.check(row, config.changes, config.judges)
    if len({slug(row.name) for row in config.rows}) < len(config.rows):
        raise ValueError(f"rows {[row.name for row in config.rows]} do not differ as file names; change one")
    configs.check_same(config, config.run, DECISIVE, holds="pictures", kept="rows")
    return judging.load(config.judges, ())


def images_for(config: ComparisonRun) -> Images:
    """The images that every row can be asked about."""
    graphs = [rows.graph_of(row) for row in config.rows if isinstance(row, CausalModel)]
    return asks.known(images_of(config.data, config.split, config.wording), graphs)


def originals_of(images: Images, wanted: list[Ask], fit: transforms.Fit) -> Callable[[str, int], np.ndarray]:
    """The picture of a subject's id at a size, uint8: each time from the stored one, as trainings see it."""
    places = {ask.subject.id: ask.subject.index for ask in wanted}
    decoded = cache(lambda name: transforms.decode(images.read(places[name])))
    return cache(lambda name, size: fitted(decoded(name), size, fit))


def made_row(
    config: ComparisonRun,
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
            making.make(
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
    config: ComparisonRun,
    row: Row,
    wanted: list[Ask],
    originals: Callable[[str, int], np.ndarray],
    known: Truths | None,
) -> makers.Maker:
    """What makes the pictures of a row with one image mechanism at most."""
    if isinstance(row, CausalModel):
        return causal.load(row, row.images[0])
    if isinstance(row, Translator):
        return translating.load(row, wanted)
    if isinstance(row, Editor):
        return makers.text_editor(row, wanted, known)
    true = lambda mode: (known.fitted_pictures(mode, config.size, config.fit), known.attributes[mode])
    return makers.bracket(row, wanted, originals, true, config.size)


def shared_of(
    config: ComparisonRun,
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
        bank_values=measures.values_of([one.attributes for one in real], bench.columns),
        bank_patients=np.array([one.patient for one in real]),
        truths=known,
        true_pictures={}
        if known is None
        else {mode: known.fitted_pictures(mode, config.size, config.fit) for mode in truths.MODES},
        masks=None if known is None else known.fitted_masks(config.size),
    )


def results_of(
    config: ComparisonRun, made: dict[str, list[Made]], shared: Shared, distance: PerceptualDistance
) -> Results:
    """Every row as it was measured."""
    return Results(
        rows=config.rows,
        seeds={row.name: [measures.measure(one, row.mode, shared) for one in made[row.name]] for row in config.rows},
        shared=shared,
        edits=[change.name for change in config.changes],
        distance=distance,
        config=config.bootstrap,
    )
