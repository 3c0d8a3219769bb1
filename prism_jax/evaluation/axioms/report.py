"""The page: pictures of every do, then composition, effectiveness, amplification and reversibility as tables."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prism_jax import config as configs
from prism_jax import report
from prism_jax.data.captions.phrases import spoken
from prism_jax.evaluation.axioms.generate import Imagined
from prism_jax.evaluation.axioms.interventions import RANDOM, Do
from prism_jax.evaluation.axioms.measure import Agreement, Bench, Measured, amplification, true_pictures
from prism_jax.report import Column, Table
from prism_jax.scm.graph import Graph
from prism_jax.scm.observed import Observed
from prism_jax.stats.intervals import Estimate
from prism_jax.stats.seeds import mean_over_seeds, std_over_seeds

if TYPE_CHECKING:
    from prism_jax.evaluation.axioms.run import AxiomsRun

REAL = "real images"
SPREAD = "± over seeds"
LEVELS = "levels"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """What all seeds reached."""

    bench: Bench
    data: Observed
    few: Observed  # those whose composition was measured
    dos: Sequence[Do]
    made: Sequence[Mapping[str, Imagined]]  # seed by seed, by do
    real_predicted: Agreement
    real_measured: Agreement
    seeds: Sequence[Mapping[str, Measured]]  # by do
    composition: Sequence[Mapping[tuple[float, int], Estimate]]  # by t_u and rounds
    mediates: bool  # whether a prior sees the parents in any of the models

    @property
    def graph(self) -> Graph:
        return self.bench.graph


def document_of(results: Results, config: "AxiomsRun") -> report.Report:
    """The report; `config.shown` images of each do, the first."""
    how = config.counterfactual
    first = results.graph.names[0]
    return report.Report(
        title=config.title,
        summary=(
            f"{len(results.data.ids)} images of {config.data.folder}, {config.data.split}; "
            f"{len(config.images)} image mechanism{'s that differ in their seed' if len(config.images) > 1 else ''}. "
            f"Each attribute was set in turn to values drawn from training"
            f"{', other than the factual' if config.is_other else ''}, and random sets of them. "
            f"Effect {how.effect}, t_u {how.t_u:g}, t_z {how.t_z:g}"
            f"{f', alpha {how.alpha:g}' if results.mediates and how.effect != 'direct' else ''}. Pictures have 8 bits."
        ),
        headline=((f"{len(results.dos)}", f"interventions, from do({spoken(first)}) on"),),
        strips=strips(results, config.shown),
        tables=tables(results),
        settings=json.loads((Path(config.run) / configs.FILE_NAME).read_text()),
        versions=report.versions(),
    )


def tables(results: Results) -> tuple[Table, ...]:
    """Every table of the page and of axioms.json."""
    predicted = _agreement(results, "predicted", results.real_predicted)
    found = [_composition(results), predicted]
    if results.real_measured:
        found.append(_agreement(results, "measured", results.real_measured))
    return (*found, _amplification(results), _distances(results), _spread(results))


def strips(results: Results, shown: int) -> tuple[report.Strip, ...]:
    """The image, each seed's counterfactual, and the truth where it can be computed."""
    found = []
    for do in results.dos:
        truth = true_pictures(results.graph, results.data, do, results.made[0][do.name].after)
        for i in range(min(shown, len(results.data.ids))):
            pictures = [report.Sample(image=results.data.images[i, ..., 0], caption="image")]
            pictures += [
                report.Sample(image=one[do.name].edited[i, ..., 0], caption=f"seed {k + 1}")
                for k, one in enumerate(results.made)
            ]
            if truth is not None:
                pictures.append(report.Sample(image=truth[i, ..., 0], caption="truth"))
            after = results.made[0][do.name].after
            told = {
                spoken(name): _told(results.graph, name, results.data.attributes[name][i], after[name][i], do, i)
                for name in results.graph.names
            }
            title = f"Image {results.data.ids[i]}"
            found.append(report.Strip(title=title, group=heading(do), images=tuple(pictures), metrics=told))
    return tuple(found)


def heading(do: Do) -> str:
    return "do(random attributes)" if do.name == RANDOM else f"do({spoken(do.name)})"


def _told(graph: Graph, name: str, before: float, after: float, do: Do, i: int) -> str:
    """What an attribute was and is; "set" where it was set."""
    kind = graph[name].values
    say = lambda value: kind.names[int(value)] if kind.classes else f"{value:.3g} {kind.unit}".rstrip()
    if before == after:
        return say(before) + (", set" if do.chosen[name][i] else "")
    return f"{say(before)} → {say(after)}" + (", set" if do.chosen[name][i] else ", follows")


def _composition(results: Results) -> Table:
    return Table(
        title="Composition",
        columns=("t_u", "Rounds", Column(name="Distance to the image", unit=LEVELS), Column(name=SPREAD, unit=LEVELS)),
        rows=tuple(
            (f"{t_u:g}", m, *_with_spread([one[t_u, m] for one in results.composition]))
            for t_u, m in results.composition[0]
        ),
        note=(
            f"Mean absolute difference of {len(results.few.ids)} images from what null interventions make of them, "
            "each of the last; lower is better. Without noise of pixels (t_u 0) one round is the reconstruction; with "
            "all of it (t_u 1) an image returns whatever the network, but for latents that the prior mediates."
        ),
    )


def _agreement(results: Results, kind: str, real: Agreement) -> Table:
    cells = [(name, label) for name, figures in real.items() for label in figures]
    rows = [(REAL, *(real[name][label] for name, label in cells))]
    for do in results.dos:
        found = [getattr(one[do.name], kind) for one in results.seeds]
        rows.append((heading(do), *(mean_over_seeds([one[name][label] for one in found]) for name, label in cells)))
    how = (
        "as independent predictors find them"
        if kind == "predicted"
        else "as measured on the pixels: the median of the bright ones, and twice the mean distance from the skeleton "
        "to the background"
    )
    return Table(
        title=f"Effectiveness, {'by predictors' if kind == 'predicted' else 'measured'}",
        columns=("Intervention", *(_column(results.graph, name, label) for name, label in cells)),
        rows=tuple(rows),
        note=(
            f"Attributes of the counterfactuals {how}, against what they were set to, follow from that or were kept. "
            "Means over seeds; intervals are 95 %, bootstrap by subject. The first row says what can be reached."
        ),
    )


def _amplification(results: Results) -> Table:
    cells = [(name, label) for name, figures in results.real_predicted.items() for label in figures]
    rows = []
    for do in results.dos:
        more = amplification([one[do.name].predicted for one in results.seeds], results.real_predicted)
        rows.append((heading(do), *(more[name][label] for name, label in cells)))
    return Table(
        title="Amplification",
        columns=("Intervention", *(_column(results.graph, name, label) for name, label in cells)),
        rows=tuple(rows),
        note=(
            "By how much the figures of predictors are beyond those on real images; 0 is ideal for attributes that "
            "were not set (Xia et al., MICCAI 2024): more certain than reality is not better."
        ),
    )


def _distances(results: Results) -> Table:
    has_truth = any(one.error is not None for one in results.seeds[0].values())
    columns: dict[str, Callable[[Measured], Estimate | None]] = {
        "Reversibility, 1 round": lambda one: one.reversibility,
        "Change": lambda one: one.change,
    }
    if has_truth:
        columns |= {"Error to the truth": lambda one: one.error, "Error of the image itself": lambda one: one.untouched}
    return Table(
        title="Distances",
        columns=("Intervention", *(Column(name=name, unit=LEVELS) for name in columns)),
        rows=tuple(
            (heading(do), *(_mean([read(one[do.name]) for one in results.seeds]) for read in columns.values()))
            for do in results.dos
        ),
        note=(
            "Mean absolute difference: of images and what is left of them after the way there and back; of images and "
            "counterfactuals; and of counterfactuals and the truth, which is known where intensity alone is set."
        ),
    )


def _spread(results: Results) -> Table:
    """How much seeds differ, of every figure."""
    cells = [(name, label) for name, figures in results.real_predicted.items() for label in figures]
    rows = []
    for do in results.dos:
        found = [one[do.name].predicted for one in results.seeds]
        values = (std_over_seeds([one[name][label] for one in found]) for name, label in cells)
        rows.append((heading(do), *values))
    return Table(
        title="How much seeds differ",
        columns=("Intervention", *(_column(results.graph, name, label) for name, label in cells)),
        rows=tuple(rows),
        note="The standard deviation over seeds of the figures of predictors; none with fewer than two seeds.",
    )


def _column(graph: Graph, name: str, label: str) -> Column:
    kind = graph[name].values
    unit = {"accuracy": "%", "error": "" if kind.classes else kind.unit}.get(label, "")
    return Column(name=f"{spoken(name)}, {'AUROC' if label == 'auroc' else label}", unit=unit)


def _with_spread(found: Sequence[Estimate]) -> tuple[Estimate, float]:
    return mean_over_seeds(found), std_over_seeds(found)


def _mean(found: Sequence[Estimate | None]) -> Estimate | None:
    return None if None in found else mean_over_seeds(found)
