"""Tables over all edits."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from prism_jax.evaluation.benchmark import estimates
from prism_jax.evaluation.benchmark.estimates import FID, EachSeed
from prism_jax.evaluation.benchmark.measure import BenchmarkInputs, Measurements
from prism_jax.evaluation.benchmark.methods import CausalModel, Editor, Method, Translator
from prism_jax.metrics.perceptual import PerceptualDistance
from prism_jax.report import Column, Table
from prism_jax.report.document import Cell
from prism_jax.stats.intervals import Estimate
from prism_jax.stats.seeds import mean_over_seeds, std_over_seeds

if TYPE_CHECKING:
    from prism_jax.evaluation.benchmark.run import BenchmarkRun

ALL = "all edits"
BY_PATIENT = "Intervals are 95 %, bootstrap by patient; n counts patients."
MEASURES = {  # name -> heading, unit
    "composition": ("Composition, 1 round", "levels"),
    "reversibility": ("Reversibility, 1 round", "levels"),
    "psnr": ("PSNR to the original", "dB"),
    "ms_ssim": ("MS-SSIM to the original", ""),
    "perceptual": ("", ""),  # heading: the distance's own name
    FID: ("FID to real images", ""),
    "on_target": ("On-target effect", "points"),
    "off_target": ("Off-target effect", "points"),
    "effect_error": ("Error of effects", "points"),
    "minimality": ("Minimality", ""),
    "error": ("Error to the truth", "levels"),
    "error_inside": ("Error inside the mask", "levels"),
    "error_outside": ("Error outside the mask", "levels"),
    "closer": ("Closer than the null edit", "%"),
}
POINTS = ("on_target", "off_target", "effect_error")
THEMES = {
    "Identity and realism": (
        ("composition", "reversibility", "psnr", "ms_ssim", "perceptual", FID),
        "Preservation of the image: lower is better except for PSNR and MS-SSIM; the unchanged image is best at all "
        "but FID. Composition is the distance of the original from the result of the null edit, reversibility from the "
        "result of the edit followed by its reverse. FID uses the first judge's features and is biased upwards for few "
        "images: compare methods within this report only.",
    ),
    "Effectiveness and side effects": (
        ("on_target", "off_target", "effect_error", "minimality"),
        "Effects are the judges' mean probability on the counterfactual minus that on the method's own null edit, in "
        "percentage points. On target: towards the edited value, 100 at most. Off target: mean absolute effect, to be "
        "compared with the oracle of the same mode. Error of effects: mean absolute difference from the true ones. "
        "Minimality is the counterfactual latent divergence, lower is better. Ages are in the tables of single edits.",
    ),
    "Distance to the true counterfactual": (
        ("error", "error_inside", "error_outside", "closer"),
        "Mean absolute difference in grey levels to the true counterfactual of the method's mode, lower is better; the "
        "mask is where the edited attribute shows, the same for all methods. An edit should have a lower error than "
        "the unchanged image inside the mask and no higher one outside. Closer: fraction of edits with a lower error "
        "inside the mask than the method's own null edit, which for text editors is the reconstruction.",
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Measurements of all methods and seeds."""

    config: "BenchmarkRun"
    seeds: Mapping[str, Sequence[Measurements]]  # by method
    inputs: BenchmarkInputs
    distance: PerceptualDistance

    @property
    def methods(self) -> Sequence[Method]:
        return self.config.methods

    @property
    def edits(self) -> list[str]:
        return [edit.name for edit in self.config.edits]

    @property
    def measures(self) -> dict[str, tuple[str, str]]:
        """Name -> heading and unit of the available measures."""
        available = {*next(iter(self.seeds.values()))[0].values, FID}
        return {
            name: (title or self.distance.name, unit) for name, (title, unit) in MEASURES.items() if name in available
        }

    def of(self, edit: str) -> np.ndarray:
        """bool [n]: the queries of an edit."""
        return np.array([edit in (ALL, query.edit) for query in self.inputs.queries])


def estimates_by_edit(results: Results) -> dict[str, dict[str, EachSeed]]:
    """Estimates of every method, on all edits and on each."""

    def of(method: Method, edit: str) -> EachSeed:
        return estimates.image_estimates(results.seeds[method.name], results.inputs, results.of(edit))

    return {edit: {method.name: of(method, edit) for method in results.methods} for edit in (ALL, *results.edits)}


def of_all(results: Results, estimates_of: Mapping[str, EachSeed]) -> list[Table]:
    """All edits together: a table per theme, the costs, and the variation between seeds."""
    tables = [theme for title in THEMES if (theme := _theme(results, title, estimates_of)) is not None]
    tables.append(costs(results))
    if any(len(seeds) > 1 for seeds in results.seeds.values()):
        tables.append(_seeds(results, estimates_of))
    return tables


def mode_of(method: Method) -> str:
    """The mode of a method, which selects its ground truth, and the scale of a causal model's pixel noise."""
    return f"{method.mode}, t_u {method.t_u:g}" if isinstance(method, CausalModel) else method.mode


MASKS = {
    None: "",
    "attribute": "; mask: the phantom's true one, an upper bound",
    "box": "; mask: the box around the phantom's true one",
    "predicted": "; mask: predicted by the model from the two captions (DiffEdit), without ground truth",
}
BASELINES = {
    "do nothing": "the unchanged image",
    "autoencoder only": "encoded and decoded",
    "oracle": "the true counterfactual",
}


def described(method: Method) -> str:
    """Description of a method, with the source of its masks."""
    if isinstance(method, CausalModel):
        return f"abduct, act, predict: t_z {method.t_z:g}, t_u {method.t_u:g}, {method.mode}, {method.effect} effect"
    if isinstance(method, Translator):
        return "image translation by the generator of the target class; null edits by that of the image's own class"
    if isinstance(method, Editor):
        how = method.inversion.with_defaults(method.defaults)
        return f"{how.method}, {how.steps} steps, guidance {how.guidance:g}{MASKS[method.mask]}"
    return BASELINES[method.kind] + (f", {method.mode}" if method.kind == "oracle" else "")


def _theme(results: Results, title: str, estimates_of: Mapping[str, EachSeed]) -> Table | None:
    """None where none of its measures is available."""
    names, note = THEMES[title]
    available = [name for name in names if name in results.measures]
    if "perceptual" in available and results.distance.note:
        note = f"{note} {results.distance.note}"
    return table(results, f"{title}: {ALL}", available, estimates_of, note) if available else None


def table(results: Results, title: str, names: Sequence[str], estimates_of: Mapping[str, EachSeed], note: str) -> Table:
    """Table of these measures of every method."""
    columns = [Column(name=heading, unit=unit) for heading, unit in map(results.measures.get, names)]
    cells = lambda method: (
        in_unit(name, mean_over_seeds([seed[name] for seed in estimates_of[method.name]])) for name in names
    )
    return of_methods(results, title, columns, cells, note)


def of_methods(
    results: Results,
    title: str,
    columns: Sequence[Column],
    cells: Callable[[Method], Iterable[Cell]],
    note: str,
    more: Iterable[tuple[Cell, ...]] = (),
) -> Table:
    """Table with a row per method: its name, its mode, and its `cells`; the rows `more` follow."""
    rows = tuple((method.name, mode_of(method), *cells(method)) for method in results.methods)
    columns, note = ("Method", "Mode", *columns), f"{note} {BY_PATIENT}"
    return Table(title=title, columns=columns, rows=(*rows, *more), note=note)


def in_unit(name: str, estimate: Estimate) -> Estimate:
    """Probabilities in percentage points."""
    return times(estimate, 100.0) if name in POINTS else estimate


def times(estimate: Estimate, factor: float) -> Estimate:
    scaled = {name: getattr(estimate, name) * factor for name in ("value", "low", "high")}
    return dataclasses.replace(estimate, **scaled)


def costs(results: Results) -> Table:
    """Time of every method; the median over seeds."""
    rows = []
    for method in results.methods:
        generated = [seed.generated for seed in results.seeds[method.name]]
        seconds = [each.seconds for each in generated if not np.isnan(each.seconds)]
        median = float(np.median(seconds)) if seconds else None
        rows.append((method.name, described(method), len(generated), generated[0].size, median))
    size, time = Column(name="Own size", unit="pixels"), Column(name="Time per image", unit="s")
    note = (
        "Time is per image and edit, inversion or abduction included: the median batch, without the first of each "
        "start, which compiles. A method finished in an earlier start keeps its numbers. Images of another size than "
        f"{results.inputs.size} were resized once, after they were written with 8 bits."
    )
    columns = ("Method", "Description", "Seeds", size, time)
    return Table(title="Methods and their costs", columns=columns, rows=tuple(rows), note=note)


def _seeds(results: Results, estimates_of: Mapping[str, EachSeed]) -> Table:
    """Methods of several seeds, seed by seed."""
    rows = []
    for method in results.methods:
        each = estimates_of[method.name]
        if len(each) > 1:
            for k, seed in enumerate(each):
                rows.append((f"{method.name}: seed {k + 1}", *(in_unit(n, seed[n]) for n in results.measures)))
            stds = (std_over_seeds([in_unit(n, seed[n]) for seed in each]) for n in results.measures)
            rows.append((f"{method.name}: standard deviation", *stds))
    columns = ("Method", *(Column(name=name, unit=unit) for name, unit in results.measures.values()))
    note = (
        "Methods with several seeds, seed by seed. In the other tables they are one row: the mean over seeds of the "
        "value and of both bounds. Those intervals are over patients; only this table has the variation between seeds. "
        f"{BY_PATIENT}"
    )
    return Table(title=f"Seeds: {ALL}", columns=columns, rows=tuple(rows), note=note)
