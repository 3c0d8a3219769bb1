"""The page of a comparison: each subject's pictures in a row, then the tables."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from prism_jax import config as configs
from prism_jax import report
from prism_jax.evaluation.benchmark.generate import Made
from prism_jax.evaluation.benchmark.ground_truth import MODES
from prism_jax.evaluation.benchmark.measure import Shared
from prism_jax.evaluation.benchmark.methods import Bracket
from prism_jax.evaluation.benchmark.queries import Ask, fitted
from prism_jax.evaluation.benchmark.tables import ALL, Results, found_by_edit, of_all
from prism_jax.evaluation.benchmark.tables_by_edit import dos, of_edit
from prism_jax.evaluation.ground_truth import AUTOENCODER


def document_of(results: Results, *, title: str, run: Path, shown: int) -> report.Report:
    """The report; `shown` subjects of each edit, the first by number."""
    shared = results.shared
    subjects = len({ask.subject.id for ask in shared.asks})
    return report.Report(
        title=title,
        summary=summary(results, subjects),
        headline=(
            (f"{len(results.rows)}", "rows, brackets included"),
            (f"{subjects}", "subjects, the same for every row"),
            (f"{len(shared.asks)}", f"counterfactuals a row, of {len(results.edits)} edits"),
        ),
        strips=strips(results, shown),
        tables=tables(results),
        settings=json.loads((run / configs.FILE_NAME).read_text()),
        versions=report.versions(),
    )


def tables(results: Results) -> tuple[report.Table, ...]:
    """Every table of the page and of comparison.json."""
    found = found_by_edit(results)
    each = [table for edit in results.edits for table in of_edit(results, edit, found[edit])]
    return (*of_all(results, found[ALL]), *dos(results), *each)


def summary(results: Results, subjects: int) -> str:
    """What the page is about."""
    shared = results.shared
    start = (
        f"Every row was given the same {subjects} pictures with 8 bits and the same edits, and all are judged by "
        f"{', '.join(shared.bench.judges)} at {shared.size} × {shared.size} pixels. "
    )
    if shared.truths is None:
        return start + "For real images no truth is known: doing nothing is the one bracket."
    return start + (
        "These are drawn X-rays with a known structural causal model. In surgical mode only what is set changes, which "
        "is what an edit by text says; in graph mode what descends from it follows. Each row is held against the truth "
        "of its own mode, between doing nothing and the oracle, which hands the truth over."
    )


def strips(results: Results, shown: int) -> tuple[report.Strip, ...]:
    """Original, every row but those that are the original or the truth, and the truth, of the first subjects."""
    found = []
    for edit in results.edits:
        places = np.flatnonzero(results.of(edit))[:shown]
        found += [_strip(results, edit, int(place)) for place in places]
    return tuple(found)


def _strip(results: Results, edit: str, place: int) -> report.Strip:
    shared = results.shared
    ask = shared.asks[place]
    pictures = [report.Sample(image=shared.originals[place], caption="Original")]
    for row in results.rows:
        if not isinstance(row, Bracket) or row.kind == AUTOENCODER:
            made = results.seeds[row.name][0].made
            pictures.append(report.Sample(image=_edited(made, ask, shared.size), caption=row.name))
    pictures += [
        report.Sample(image=picture, caption=f"Truth, {mode}") for mode, picture in _truths(shared, place).items()
    ]
    numbers = {
        f"error of {row.name}, levels": f"{results.seeds[row.name][0].values['error'][place]:.2f}"
        for row in results.rows
        if shared.truths is not None
    }
    return report.Strip(title=ask.subject.id, group=edit, images=tuple(pictures), metrics=numbers)


def _edited(made: Made, ask: Ask, size: int) -> np.ndarray:
    return fitted(next(made.pictures("edited", [ask])), size)


def _truths(shared: Shared, place: int) -> Mapping[str, np.ndarray]:
    """The truth of each mode; one where both are the same picture."""
    found = {mode: shared.true_pictures[mode][place] for mode in MODES if shared.truths is not None}
    if found and np.array_equal(*found.values()):
        return {"either mode": found[MODES[0]]}
    return found
