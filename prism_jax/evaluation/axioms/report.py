"""The report: images of every intervention, and tables of composition, effectiveness and reversibility."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from prism_jax import report
from prism_jax.data.captions.phrases import spoken
from prism_jax.evaluation.axioms.generate import Counterfactuals
from prism_jax.evaluation.axioms.interventions import RANDOM, Intervention
from prism_jax.evaluation.axioms.measure import Agreement, Measurements, true_counterfactuals
from prism_jax.report import Column, Table
from prism_jax.report.document import Cell
from prism_jax.scm.graph import Graph
from prism_jax.scm.observed import Observed
from prism_jax.stats.intervals import Estimate
from prism_jax.stats.seeds import mean_over_seeds, std_over_seeds

if TYPE_CHECKING:
    from prism_jax.evaluation.axioms.run import AxiomsRun

REAL = "real images"
STD = "± over seeds"
LEVELS = "levels"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelResults:
    """Counterfactuals and measurements of one image mechanism."""

    counterfactuals: Mapping[str, Counterfactuals]  # by intervention
    measured: Mapping[str, Measurements]  # by intervention
    composition: Mapping[tuple[float, int], Estimate]  # by t_u and rounds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Results of all image mechanisms, which differ in their seed."""

    graph: Graph
    data: Observed
    composition_images: int  # how many, the first, whose composition was measured
    interventions: Sequence[Intervention]
    real_predicted: Agreement
    real_measured: Agreement
    models: Sequence[ModelResults]
    mediates: bool  # whether any model has a conditional prior


def report_of(results: Results, config: "AxiomsRun") -> report.Report:
    """The report; `config.shown` images of each intervention, the first."""
    how = config.counterfactual
    first = results.graph.names[0]
    return report.Report(
        title=config.title,
        summary=(
            f"{len(results.data.ids)} images of {config.data.folder}, {config.data.split}; "
            f"{len(config.images)} image mechanism{'s that differ in their seed' if len(config.images) > 1 else ''}."
        ),
        look_first=(
            "Read effectiveness against its first row, the real images, which counterfactuals should not exceed.",
            "Interventions are on each attribute in turn, with values drawn from training"
            f"{' other than the factual ones' if config.is_different else ''}, and on random sets. "
            f"Effect {how.effect}, t_u {how.t_u:g}, t_z {how.t_z:g}"
            f"{f', alpha {how.alpha:g}' if results.mediates and how.effect != 'direct' else ''}; images have 8 bits.",
        ),
        headline=((f"{len(results.interventions)}", f"interventions, from do({spoken(first)}) on"),),
        strips=strips(results, config.shown),
        tables=tables(results),
    )


def tables(results: Results) -> tuple[Table, ...]:
    """Every table of the page and of metrics.json."""
    agreement = [_agreement(results, kind) for kind in ("predicted", "measured") if getattr(results, f"real_{kind}")]
    return (_composition(results), *agreement, _amplification(results), _distances(results), _seed_variation(results))


def strips(results: Results, shown: int) -> tuple[report.Strip, ...]:
    """The image, each seed's counterfactual, and the true one where it can be computed."""
    strips = []
    for intervention in results.interventions:
        generated = [model.counterfactuals[intervention.name] for model in results.models]
        after = generated[0].after
        truth = true_counterfactuals(results.graph, results.data, intervention, after)
        for i in range(min(shown, len(results.data.ids))):
            images = [report.Sample(image=results.data.images[i, ..., 0], caption="image")]
            images += [
                report.Sample(image=each.edited[i, ..., 0], caption=f"seed {k + 1}") for k, each in enumerate(generated)
            ]
            if truth is not None:
                images.append(report.Sample(image=truth[i, ..., 0], caption="true counterfactual"))
            changes = {
                spoken(name): _change_text(
                    results.graph, name, results.data.attributes[name][i], after[name][i], intervention, i
                )
                for name in results.graph.names
            }
            title = f"Image {results.data.ids[i]}"
            strips.append(report.Strip(title=title, group=heading(intervention), images=tuple(images), metrics=changes))
    return tuple(strips)


def heading(intervention: Intervention) -> str:
    return "do(random attributes)" if intervention.name == RANDOM else f"do({spoken(intervention.name)})"


def _change_text(graph: Graph, name: str, before: float, after: float, intervention: Intervention, i: int) -> str:
    """Factual and counterfactual value of an attribute; "set" where it was intervened on."""
    kind = graph[name].values
    text = lambda value: kind.names[int(value)] if kind.classes else f"{value:.3g} {kind.unit}".rstrip()
    if before == after:
        return text(before) + (", set" if intervention.chosen[name][i] else "")
    return f"{text(before)} → {text(after)}" + (", set" if intervention.chosen[name][i] else ", follows")


def _composition(results: Results) -> Table:
    return Table(
        title="Composition",
        columns=("t_u", "Rounds", Column(name="Distance to the image", unit=LEVELS), Column(name=STD, unit=LEVELS)),
        rows=tuple(
            (f"{t_u:g}", m, *_with_std([model.composition[t_u, m] for model in results.models]))
            for t_u, m in results.models[0].composition
        ),
        note=(
            f"Mean absolute difference of {results.composition_images} images from the result of null interventions in "
            "a row; lower is better. Without pixel noise (t_u 0) one round is the reconstruction; with all of it "
            "(t_u 1) the image is returned whatever the network, except for latents mediated by a conditional prior."
        ),
    )


def _agreement(results: Results, kind: str) -> Table:
    real = getattr(results, f"real_{kind}").values()
    how = (
        "by independent predictors"
        if kind == "predicted"
        else "measured on the pixels: the median of the bright ones, and twice the mean distance from the skeleton to "
        "the background"
    )
    return _of_interventions(
        results,
        f"Effectiveness, {'by predictors' if kind == 'predicted' else 'measured'}",
        (
            f"Attributes of the counterfactuals {how}, compared with the expected ones. Means over seeds; intervals "
            "are 95 %, bootstrap by subject. The first row, on real images, is the upper bound."
        ),
        lambda _, of_seeds: mean_over_seeds(of_seeds),
        kind=kind,
        first=((REAL, *(estimate for estimates in real for estimate in estimates.values())),),
    )


def _amplification(results: Results) -> Table:
    return _of_interventions(
        results,
        "Amplification",
        "Effectiveness by predictors minus that on real images; 0 is ideal for attributes without intervention "
        "(Xia et al., MICCAI 2024): more certain than on real images is not better.",
        lambda real, of_seeds: float(np.mean([estimate.value - real.value for estimate in of_seeds])),
    )


def _seed_variation(results: Results) -> Table:
    return _of_interventions(
        results,
        "Variation between seeds",
        "Standard deviation over seeds of effectiveness by predictors; needs two seeds or more.",
        lambda _, of_seeds: std_over_seeds(of_seeds),
    )


def _of_interventions(
    results: Results,
    title: str,
    note: str,
    cell: Callable[[Estimate, Sequence[Estimate]], Cell],
    *,
    kind: str = "predicted",
    first: tuple[tuple[Cell, ...], ...] = (),
) -> Table:
    """Table with a row per intervention and a column per attribute and measure, after the rows `first`.

    A cell is computed from the estimate on real images and those of every seed, "predicted" or "measured".
    """
    real = getattr(results, f"real_{kind}")
    places = [(name, label) for name, estimates in real.items() for label in estimates]
    of_seeds = lambda intervention, name, label: [
        getattr(model.measured[intervention.name], kind)[name][label] for model in results.models
    ]
    rows = (
        (heading(each), *(cell(real[name][label], of_seeds(each, name, label)) for name, label in places))
        for each in results.interventions
    )
    columns = ("Intervention", *(_column(results.graph, name, label) for name, label in places))
    return Table(title=title, columns=columns, rows=(*first, *rows), note=note)


def _distances(results: Results) -> Table:
    columns = {"reversibility": "Reversibility, 1 round", "change": "Change"}
    if any(measured.error is not None for measured in results.models[0].measured.values()):
        columns |= {"error": "Error to the true counterfactual", "unchanged_error": "Error of the unchanged image"}

    def mean(intervention: Intervention, name: str) -> Estimate | None:
        estimates = [getattr(model.measured[intervention.name], name) for model in results.models]
        return None if None in estimates else mean_over_seeds(estimates)

    return Table(
        title="Distances",
        columns=("Intervention", *(Column(name=name, unit=LEVELS) for name in columns.values())),
        rows=tuple((heading(each), *(mean(each, name) for name in columns)) for each in results.interventions),
        note=(
            "Mean absolute difference of images to the reverse of their counterfactuals, of images to counterfactuals, "
            "and of counterfactuals to the true ones, which are known for interventions on intensity."
        ),
    )


def _column(graph: Graph, name: str, label: str) -> Column:
    kind = graph[name].values
    unit = {"accuracy": "%", "error": "" if kind.classes else kind.unit}.get(label, "")
    return Column(name=f"{spoken(name)}, {'AUROC' if label == 'auroc' else label}", unit=unit)


def _with_std(estimates: Sequence[Estimate]) -> tuple[Estimate, float]:
    return mean_over_seeds(estimates), std_over_seeds(estimates)
