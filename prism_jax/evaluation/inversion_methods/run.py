"""Inversion methods side by side on phantoms: `prism eval inversion_methods --config phantom/inversion_methods`.

Runs `eval.counterfactuals` once for every method, each in a folder of its own and each to be resumed, and writes
`report.html` and `metrics.json`: distance to the truth, reconstruction, time per image, and the method to prefer.
"""

import dataclasses
import statistics
import sys
from pathlib import Path

from prism_jax import config as configs
from prism_jax import report
from prism_jax.evaluation.counterfactuals import report as counterfactuals_report
from prism_jax.evaluation.counterfactuals import run as counterfactuals_run
from prism_jax.evaluation.counterfactuals.manifest import Manifest
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, Inversion
from prism_jax.stats.intervals import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class InversionMethodsRun:
    """Everything a comparison depends on."""

    run: str = "runs/methods"
    title: str = "Inversion methods"
    each: CounterfactualRun = CounterfactualRun()
    """What every method is asked for; its run and inversion are filled in."""
    methods: tuple[Inversion, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What one method reached."""

    method: str
    psnr: report.Check
    measured: dict[str, Estimate]
    removal_growth: Estimate
    addition_growth: Estimate
    seconds: float  # per image, all its edits included

    @property
    def merit(self) -> tuple[bool, float, float]:
        """Larger is better: a good reconstruction, then the share of edits closer to the truth, then speed."""
        return self.psnr.is_met, round(self.measured["closer"].value, 2), -self.seconds


def main(config: InversionMethodsRun) -> None:
    """Runs every method, or what is left of it, and compares them."""
    run = Path(config.run)
    names = [inversion.method for inversion in config.methods]
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"methods are {names}; name each once, and at least one")
    found = []
    for inversion in config.methods:
        each = dataclasses.replace(config.each, run=str(run / inversion.method), inversion=inversion)
        counterfactuals_run.main(each)
        found.append(measure(each))
    configs.write(config, run)
    document = document_of(config, found)
    print(f"{report.save(document, run)}: {document.summary}", file=sys.stderr)


def measure(config: CounterfactualRun) -> Found:
    """What a finished run reached, over all its edits."""
    manifest = Manifest(Path(config.run), config.output)
    rows = manifest.rows()
    fidelity = counterfactuals_report.fidelity(manifest, counterfactuals_report.first_rows(rows))
    measured = {
        edit: counterfactuals_run.merged(counterfactuals_run.outcomes_of(config, manifest, edit, rows))
        for edit in config.edits
    }
    removals = [m for edit, m in measured.items() if edit.is_removal]
    additions = [m for edit, m in measured.items() if not edit.is_removal]
    together = lambda parts: parts[0].merge(*parts[1:]).compute()
    bound = fidelity["VAE alone"]["psnr"].value - config.max_psnr_loss
    # The first batch of a process also compiles.
    batches = {row["batch"]: row["seconds"] for row in rows}
    return Found(
        method=config.inversion.method,
        psnr=report.Check(estimate=fidelity["Reconstruction by inversion"]["psnr"], at_least=bound),
        measured=together(list(measured.values())),
        removal_growth=together(removals)["outside_growth"],
        addition_growth=together(additions)["outside_growth"],
        seconds=statistics.median(list(batches.values())[1:] or batches.values()),
    )


def document_of(config: InversionMethodsRun, found: list[Found]) -> report.Report:
    """The comparison as a report."""
    best = max(found, key=lambda f: f.merit)
    rows = tuple(
        (
            f.method,
            f.psnr,
            report.Check(estimate=f.measured["closer"], at_least=config.each.min_closer_fraction),
            f.measured["reconstruction_inside"],
            f.measured["edit_inside"],
            report.Check(estimate=f.removal_growth, at_most=config.each.max_outside_growth[0]),
            report.Check(estimate=f.addition_growth, at_most=config.each.max_outside_growth[1]),
            f.seconds,
        )
        for f in found
    )
    columns = (
        "Method",
        report.Column(name="Reconstruction, PSNR", unit="dB"),
        report.Column(name="Edit closer than reconstruction", unit="%"),
        report.Column(name="Error inside, reconstruction", unit="levels"),
        report.Column(name="Error inside, edit", unit="levels"),
        report.Column(name="Growth outside, taken away", unit="×"),
        report.Column(name="Growth outside, added", unit="×"),
        report.Column(name="Time per image", unit="s"),
    )
    note = (
        "Over all edits of all subjects, against the true counterfactual. Time is the median batch's, by image: "
        "inversion, all edits of the image, decoding. The method to prefer reconstructs within the bound, then brings "
        "most edits closer to the truth (in whole percent), then takes least time."
    )
    return report.Report(
        title=config.title,
        summary=f"Prefer {best.method}.",
        headline=((best.method, "the method to prefer, by the rule under the table"),),
        tables=(report.Table(title="Methods", columns=columns, rows=rows, note=note),),
    )
