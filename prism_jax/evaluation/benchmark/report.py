"""The report of a benchmark: tables, and the images of some subjects by every method."""

from collections.abc import Mapping

import numpy as np

from prism_jax import report
from prism_jax.evaluation import subjects
from prism_jax.evaluation.benchmark.ground_truth import MODES
from prism_jax.evaluation.benchmark.measure import BenchmarkInputs
from prism_jax.evaluation.benchmark.methods import Baseline
from prism_jax.evaluation.benchmark.queries import fitted
from prism_jax.evaluation.benchmark.tables import ALL, Results, estimates_by_edit, of_all
from prism_jax.evaluation.benchmark.tables_by_edit import effectiveness_by_attribute, of_edit
from prism_jax.evaluation.ground_truth import AUTOENCODER


def report_of(results: Results) -> report.Report:
    """The report of a benchmark."""
    inputs = results.inputs
    count = len({query.subject.id for query in inputs.queries})
    return report.Report(
        title=results.config.title,
        summary=(
            f"Every method got the same {count} 8-bit images and the same edits; the judges are "
            f"{', '.join(inputs.panel.judges)}, at {inputs.size} × {inputs.size} pixels."
        ),
        headline=(
            (f"{len(results.methods)}", "methods, baselines included"),
            (f"{count}", "subjects, the same for every method"),
            (f"{len(inputs.queries)}", f"counterfactuals per method, of {len(results.edits)} edits"),
        ),
        look_first=look_first(results),
        strips=strips(results),
        tables=tables(results),
    )


def tables(results: Results) -> tuple[report.Table, ...]:
    """Every table of the page and of metrics.json."""
    by_edit = estimates_by_edit(results)
    each = [table for edit in results.edits for table in of_edit(results, edit, by_edit[edit])]
    return (*of_all(results, by_edit[ALL]), *effectiveness_by_attribute(results), *each)


def look_first(results: Results) -> tuple[str, ...]:
    """Hints for reading the report."""
    last = "The subjects shown are drawn at random over patients, none selected by its result."
    if results.inputs.truths is None:
        return "Real images have no ground truth: the unchanged image is the only baseline.", last
    return (
        "Read each method between two baselines: the unchanged image, and the oracle, which returns the true "
        "counterfactual.",
        "These are phantom X-rays with a known structural causal model. In surgical mode only the edited attribute "
        "changes, as a text edit states; in graph mode its descendants follow. Each method is compared with the true "
        "counterfactual of its own mode.",
        last,
    )


def strips(results: Results) -> tuple[report.Strip, ...]:
    """The images of subjects drawn at random: original, every method (except trivial baselines), and the truth."""
    strips = []
    for edit in results.edits:
        places = np.flatnonzero(results.of(edit))
        patients = [results.inputs.queries[place].subject.patient for place in places]
        places = places[subjects.drawn(patients, results.config.shown)]
        strips += [_strip(results, edit, int(place)) for place in places]
    return tuple(strips)


def _strip(results: Results, edit: str, place: int) -> report.Strip:
    inputs = results.inputs
    query = inputs.queries[place]
    images = [report.Sample(image=inputs.originals[place], caption="Original")]
    for method in results.methods:
        if not isinstance(method, Baseline) or method.kind == AUTOENCODER:
            generated = results.seeds[method.name][0].generated
            (edited,) = generated.images("edited", [query])
            images.append(report.Sample(image=fitted(edited, inputs.size), caption=method.name))
    images += [report.Sample(image=image, caption=f"Truth, {mode}") for mode, image in _truths(inputs, place).items()]
    numbers = {
        f"error of {method.name}, levels": f"{results.seeds[method.name][0].values['error'][place]:.2f}"
        for method in results.methods
        if inputs.truths is not None
    }
    return report.Strip(title=query.subject.id, group=edit, images=tuple(images), metrics=numbers)


def _truths(inputs: BenchmarkInputs, place: int) -> Mapping[str, np.ndarray]:
    """The true counterfactual of each mode; one entry where both are the same image."""
    truths = {mode: inputs.truths.images[mode][place] for mode in MODES if inputs.truths is not None}
    if truths and np.array_equal(*truths.values()):
        return {"either mode": truths[MODES[0]]}
    return truths
