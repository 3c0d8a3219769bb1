"""Inversion methods side by side on phantoms: `prism eval inversion_methods --config phantom/inversion_methods`.

Runs `counterfactuals` once per method, each in a folder of its own and each resumable, and writes `report.html` and
`metrics.json`: distance to the true counterfactuals, reconstruction, time per image, and the recommended method.
"""

import dataclasses
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prism_jax import config as configs
from prism_jax import report
from prism_jax.evaluation import ground_truth
from prism_jax.evaluation.counterfactuals import measure as counterfactuals_measure
from prism_jax.evaluation.counterfactuals import run as counterfactuals_run
from prism_jax.evaluation.counterfactuals.manifest import Manifest
from prism_jax.evaluation.counterfactuals.measure import AUTOENCODER, INVERSION
from prism_jax.evaluation.counterfactuals.report import DISTANCES
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, Inversion


@dataclasses.dataclass(frozen=True, kw_only=True)
class InversionMethodsRun:
    """Configuration of a comparison of inversion methods."""

    run: str = "runs/methods"
    title: str = "Inversion methods"
    each: CounterfactualRun = CounterfactualRun()
    """Cohort that every method edits; its `run` and `inversion` are filled in."""
    methods: tuple[Inversion, ...] = ()


COLUMNS = {
    "psnr": report.Column(name="Reconstruction, PSNR", unit="dB"),
    **{name: DISTANCES[name] for name in ("closer", "reconstruction_inside", "edit_inside")},
    "removal_growth": report.Column(name="Growth outside, taken away", unit="×"),
    "addition_growth": report.Column(name="Growth outside, added", unit="×"),
    "seconds": report.Column(name="Time per image", unit="s"),
}
Result = dict[str, Any]  # COLUMNS -> cells, over all edits of one method


def main(config: InversionMethodsRun) -> None:
    """Runs every method, resumes those that were stopped, and compares them."""
    run = Path(config.run)
    names = [inversion.method for inversion in config.methods]
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"methods must name at least one method, each once, got {names}")
    results = {}
    for inversion in config.methods:
        each = dataclasses.replace(config.each, run=str(run / inversion.method), inversion=inversion)
        counterfactuals_run.main(each)
        results[inversion.method] = measure(each)
    configs.write(config, run)
    page = report_of(config, results)
    print(f"{report.save(page, run)}: {page.headline[0][0]}, {page.headline[0][1]}", file=sys.stderr)


def measure(config: CounterfactualRun) -> Result:
    """Results of a finished cohort, over all its edits."""
    manifest = Manifest(Path(config.run), config.output)
    rows, phantom = manifest.rows(), ground_truth.phantom_config(config.data)
    fidelity = counterfactuals_measure.fidelity(manifest, rows)
    measured = {
        edit: counterfactuals_measure.merged(
            counterfactuals_measure.outcomes(manifest, edit, rows, phantom, config.wording)
        )
        for edit in config.edits
    }
    together = lambda parts: parts[0].merge(*parts[1:]).compute()
    of_all = together(list(measured.values()))
    growth = lambda is_removal: together([m for edit, m in measured.items() if edit.is_removal == is_removal])
    removal, addition = config.max_outside_growth
    # The first batch of a process also compiles.
    batches = {row["batch"]: row["seconds"] for row in rows}
    return of_all | {
        "psnr": report.Check(
            estimate=fidelity[INVERSION]["psnr"],
            at_least=fidelity[AUTOENCODER]["psnr"].value - config.max_psnr_loss,
        ),
        "closer": report.Check(estimate=of_all["closer"], at_least=config.min_closer_fraction),
        "removal_growth": report.Check(estimate=growth(True)["outside_growth"], at_most=removal),
        "addition_growth": report.Check(estimate=growth(False)["outside_growth"], at_most=addition),
        "seconds": statistics.median(list(batches.values())[1:] or batches.values()),
    }


def merit(result: Result) -> tuple[bool, float, float]:
    """Larger is better: a good reconstruction, then the fraction of edits closer to the truth, then speed."""
    return result["psnr"].is_met, round(result["closer"].estimate.value, 2), -result["seconds"]


def report_of(config: InversionMethodsRun, results: Mapping[str, Result]) -> report.Report:
    """The comparison as a report."""
    best = max(results, key=lambda method: merit(results[method]))
    rows = tuple((method, *(result[name] for name in COLUMNS)) for method, result in results.items())
    note = (
        "All edits of all subjects, compared with the true counterfactual. Time: median over batches, per image, for "
        "inversion, all edits of the image and decoding. Growth outside: error of the edit divided by error of the "
        "reconstruction, where nothing should change; for findings removed and findings added."
    )
    return report.Report(
        title=config.title,
        summary=f"{len(results)} inversion methods edit the same phantom images; {best} is recommended.",
        headline=((best, "recommended inversion method"),),
        targets="PSNR with the autoencoder alone; edits with the true counterfactual",
        look_first=(
            "The recommended method reconstructs within the bound on PSNR, then brings most edits closer to the truth "
            "(in whole percent), then takes least time. Each method has its own report, with images, in its subfolder.",
        ),
        tables=(report.Table(title="Methods", columns=("Method", *COLUMNS.values()), rows=rows, note=note),),
    )
