"""The numbers of a comparison over all edits, as tables."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from prism_jax.evaluation.benchmark import estimates
from prism_jax.evaluation.benchmark.estimates import FID, Found
from prism_jax.evaluation.benchmark.measure import Measured, Shared
from prism_jax.evaluation.benchmark.methods import CausalModel, Editor, Row, Translator
from prism_jax.metrics.perceptual import PerceptualDistance
from prism_jax.report import Column, Table
from prism_jax.stats.intervals import BootstrapConfig, Estimate
from prism_jax.stats.seeds import std_over_seeds

ALL = "all edits"
MIB = 2**20
BY_PATIENT = "Intervals are 95 %, bootstrap by patient; n counts patients."
MEASURES = {  # name -> heading, unit
    "composition": ("Composition, 1 round", "levels"),
    "reversibility": ("Reversibility, 1 round", "levels"),
    "psnr": ("PSNR to the original", "dB"),
    "ms_ssim": ("MS-SSIM to the original", ""),
    "perceptual": ("", ""),  # named by what it is
    FID: ("FID to real pictures", ""),
    "on_target": ("Effect on what is set", "points"),
    "off_target": ("Size of other effects", "points"),
    "effect_error": ("Effects' distance from the generator's", "points"),
    "minimality": ("Minimality", ""),
    "error": ("Error to the truth", "levels"),
    "error_inside": ("Error inside the mask", "levels"),
    "error_outside": ("Error outside the mask", "levels"),
}
POINTS = ("on_target", "off_target", "effect_error")
THEMES = {
    "Identity and realism": (
        ("composition", "reversibility", "psnr", "ms_ssim", "perceptual", FID),
        "How much of the picture stays: lower is better but for PSNR and MS-SSIM, and doing nothing is best at all but "
        "FID. Composition is the distance of the original from the picture with nothing to change, reversibility from "
        "the picture after the edit and the way back. FID is of the first judge's features and biased upwards by few "
        "pictures: compare rows, not pages.",
    ),
    "Does the edit work, and on what else?": (
        ("on_target", "off_target", "effect_error", "minimality"),
        "Effects are the judges' mean probability on the counterfactual less that on the row's own picture with "
        "nothing to change, in points. The first is towards what was asked for, 100 at most; the others are mean sizes "
        "and should be those of the oracle of the same mode. Minimality is the counterfactual latent divergence, lower "
        "is better. Ages are in the tables of single edits.",
    ),
    "Distance to the true counterfactual": (
        ("error", "error_inside", "error_outside"),
        "Mean absolute difference in grey levels to the true counterfactual of the row's mode, lower is better; the "
        "mask is where the attribute that is set shows, the same for all rows. An edit should beat doing nothing "
        "inside the mask and not be worse outside.",
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """All rows, each with its seeds, as they were measured."""

    rows: Sequence[Row]
    seeds: Mapping[str, Sequence[Measured]]  # by row
    shared: Shared
    edits: Sequence[str]
    distance: PerceptualDistance
    config: BootstrapConfig

    @property
    def measures(self) -> dict[str, tuple[str, str]]:
        """Name -> heading and unit, of what was measured."""
        known = {*next(iter(self.seeds.values()))[0].values, FID}
        return {name: (told[0] or self.distance.name, told[1]) for name, told in MEASURES.items() if name in known}

    def of(self, edit: str) -> np.ndarray:
        """bool [n]: the asks of an edit."""
        return np.array([edit in (ALL, ask.edit) for ask in self.shared.asks])


def found_by_edit(results: Results) -> dict[str, dict[str, Found]]:
    """What every row reached, on all edits and on each."""

    def of(row: Row, edit: str) -> Found:
        return estimates.of_pictures(results.seeds[row.name], results.shared, results.of(edit), results.config)

    return {edit: {row.name: of(row, edit) for row in results.rows} for edit in (ALL, *results.edits)}


def of_all(results: Results, found: Mapping[str, Found]) -> list[Table]:
    """All edits together: a table a theme, what the rows cost, and how their seeds differ."""
    made = [theme for title in THEMES if (theme := _theme(results, title, found)) is not None]
    made.append(costs(results))
    if any(len(seeds) > 1 for seeds in results.seeds.values()):
        made.append(_seeds(results, found))
    return made


def mode_of(row: Row) -> str:
    """The mode of a row, whose truth it is held against, and how much noise of pixels is put back."""
    return f"{row.mode}, t_u {row.t_u:g}" if isinstance(row, CausalModel) else row.mode


MASKS = {
    None: "",
    "attribute": "; mask: the phantom's own of what is set, an upper bound",
    "box": "; mask: the box around the phantom's own",
    "predicted": "; mask: predicted by the model from the two captions (DiffEdit), without the truth",
}
KNOWN = {"do nothing": "the picture again", "autoencoder only": "encoded and decoded", "oracle": "the truth"}


def described(row: Row) -> str:
    """How a row makes its pictures, with the source of its masks."""
    if isinstance(row, CausalModel):
        return f"abduct, act, predict: t_z {row.t_z:g}, t_u {row.t_u:g}, {row.mode}, {row.effect} effect"
    if isinstance(row, Translator):
        return "translated by the generator of the kind that is wanted: with nothing to change, of the kind it is"
    if isinstance(row, Editor):
        how = row.inversion
        return f"{how.method}, {how.steps} steps, guidance {how.guidance:g}{MASKS[row.mask]}"
    return KNOWN[row.kind] + (f", {row.mode}" if row.kind == "oracle" else "")


def _theme(results: Results, title: str, found: Mapping[str, Found]) -> Table | None:
    """None where nothing of it is known."""
    names, note = THEMES[title]
    known = [name for name in names if name in results.measures]
    if "perceptual" in known and results.distance.note:
        note = f"{note} {results.distance.note}"
    return table(results, f"{title}: {ALL}", known, found, note) if known else None


def table(results: Results, title: str, names: Sequence[str], found: Mapping[str, Found], note: str) -> Table:
    """These measures of every row."""
    told = results.measures
    columns = ("Row", "Mode", *(Column(name=told[name][0], unit=told[name][1]) for name in names))
    rows = tuple(
        (row.name, mode_of(row), *(in_unit(name, found[row.name].mean[name]) for name in names)) for row in results.rows
    )
    return Table(title=title, columns=columns, rows=rows, note=f"{note} {BY_PATIENT}")


def in_unit(name: str, estimate: Estimate) -> Estimate:
    """Shares of probability in points."""
    return times(estimate, 100.0) if name in POINTS else estimate


def times(estimate: Estimate, factor: float) -> Estimate:
    scaled = {name: getattr(estimate, name) * factor for name in ("value", "low", "high")}
    return dataclasses.replace(estimate, **scaled)


def costs(results: Results) -> Table:
    """Time and memory of every row; of several trainings the median."""
    rows = []
    for row in results.rows:
        made = [one.made for one in results.seeds[row.name]]
        seconds, memory = _median([one.seconds for one in made]), _median([one.memory for one in made])
        rows.append((row.name, described(row), len(made), made[0].size, seconds, memory and memory / MIB))
    columns = ("Row", "What", "Trainings", Column(name="Own size", unit="pixels"))
    columns += (Column(name="Time per picture", unit="s"), Column(name="Most memory", unit="MiB"))
    note = (
        "Time is that of one picture with one edit, inversion or abduction included: the median batch, without the "
        "first of each start, which compiles. Memory is the accelerator's peak since the program began; on CPUs, the "
        "most that the process held while the row was made. A row finished in an earlier start keeps its numbers. "
        f"Pictures of another size than {results.shared.size} were resized once, after they were written with 8 bits."
    )
    return Table(title="What the rows are, and what they take", columns=columns, rows=tuple(rows), note=note)


def _median(values: Sequence[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return float(np.median(known)) if known else None


def _seeds(results: Results, found: Mapping[str, Found]) -> Table:
    """Rows of several trainings, seed by seed."""
    rows = []
    for row in results.rows:
        each = found[row.name].each
        if len(each) > 1:
            for k, one in enumerate(each):
                rows.append((f"{row.name}: seed {k + 1}", *(in_unit(n, one[n]) for n in results.measures)))
            spreads = (std_over_seeds([in_unit(n, one[n]) for one in each]) for n in results.measures)
            rows.append((f"{row.name}: standard deviation", *spreads))
    columns = ("Row", *(Column(name=name, unit=unit) for name, unit in results.measures.values()))
    note = (
        "Rows of several trainings, one by one. Elsewhere they are one row: the mean over seeds of the value and of "
        f"both bounds; those intervals are of patients, and how much trainings differ is said here. {BY_PATIENT}"
    )
    return Table(title=f"Seeds: {ALL}", columns=columns, rows=tuple(rows), note=note)
