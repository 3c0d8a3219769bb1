"""Text of table cells, and the tables that every counterfactual report has."""

import dataclasses
import math
import numbers
from collections.abc import Mapping

from prism_jax.report.document import Cell, Check, Column, Table
from prism_jax.stats.intervals import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellText:
    """A cell as printed: the number, then in small print its interval and count, then its verdict."""

    text: str
    interval: str = ""
    count: str = ""
    target: str = ""
    is_met: bool | None = None  # None: there is no target
    is_number: bool = True


def cell_text(cell: Cell, unit: str = "") -> CellText:
    """Writes a cell under a column of this unit; "%" multiplies by 100."""
    if cell is None:
        return CellText(text="–", is_number=False)
    if isinstance(cell, str):
        return CellText(text=cell, is_number=False)
    if isinstance(cell, Check):
        estimate = cell_text(cell.estimate, unit)
        sides = (("≥", cell.at_least), ("≤", cell.at_most))
        target = " and ".join(
            f"{sign} {bound * (100 if unit == '%' else 1):.4g}" for sign, bound in sides if bound is not None
        )
        return dataclasses.replace(estimate, target=target, is_met=cell.is_met)
    if isinstance(cell, Estimate):
        if not cell.count or math.isnan(cell.value):
            return CellText(text="–", count=f"n = {cell.count:,}")
        interval = f"{number(cell.low, unit)} to {number(cell.high, unit)}"
        return CellText(text=number(cell.value, unit), interval=interval, count=f"n = {cell.count:,}")
    return CellText(text=number(cell, unit))


def number(value: float, unit: str = "") -> str:
    """Three significant digits, whole numbers in full."""
    value = 100 * value if unit == "%" else value
    if isinstance(value, numbers.Integral):
        return f"{value:,}"
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if unit == "%":
        return f"{value:.0f}" if value in (0, 100) else f"{value:.1f}"
    if value and abs(value) < 1e-3:
        return f"{value:.2e}"
    digits = max(2 - math.floor(math.log10(abs(value))), 0) if value else 0
    return f"{value:,.{digits}f}".replace("-", "−")


def image_table(
    comparisons: Mapping[str, Mapping[str, Estimate]],
    *,
    title: str = "Image fidelity",
    min_psnr: Mapping[str, float] | None = None,
    note: str = "L1 of images in [−1, 1]. 95 % intervals, bootstrap over subjects.",
) -> Table:
    """One row per comparison of images, from `ImageMetrics.compute()`; targets in dB by row name."""
    targets = min_psnr or {}
    rows = []
    for name, metrics in comparisons.items():
        psnr = Check(estimate=metrics["psnr"], at_least=targets[name]) if name in targets else metrics["psnr"]
        rows.append((name, psnr, metrics["ssim"], metrics["l1"]))
    columns = ("Images", Column(name="PSNR", unit="dB"), "SSIM", "L1")
    return Table(title=title, columns=columns, rows=tuple(rows), note=note)


def counterfactual_table(
    edits: Mapping[str, Mapping[str, Estimate]],
    *,
    min_closer_fraction: float | None = None,
    max_outside_growth: Mapping[str, float] | None = None,
    title: str = "Distance to the true counterfactual",
) -> Table:
    """One row per edit, from `CounterfactualMetrics.compute()`; `max_outside_growth` has limits by edit."""
    limits = max_outside_growth or {}
    rows = []
    for edit, metrics in edits.items():
        closer, growth = metrics["closer"], metrics["outside_growth"]
        rows.append(
            (
                edit,
                Check(estimate=closer, at_least=min_closer_fraction) if min_closer_fraction is not None else closer,
                metrics["reconstruction_inside"],
                metrics["edit_inside"],
                metrics["reconstruction_outside"],
                metrics["edit_outside"],
                Check(estimate=growth, at_most=limits[edit]) if edit in limits else growth,
                metrics["outside_growth_median"],
                metrics["change_iou"],
            )
        )
    columns = (
        "Edit",
        Column(name="Edit closer than reconstruction", unit="%"),
        Column(name="Error inside, reconstruction", unit="levels"),
        Column(name="Error inside, edit", unit="levels"),
        Column(name="Error outside, reconstruction", unit="levels"),
        Column(name="Error outside, edit", unit="levels"),
        Column(name="Growth outside", unit="×"),
        Column(name="Growth, median subject", unit="×"),
        "IoU of change with mask",
    )
    note = (
        "Error: mean absolute difference to the true counterfactual in grey levels (0 to 255), inside and outside the "
        "region that the attribute truly changes. Growth outside: error of the edit divided by error of the "
        "reconstruction, of the means and of the median subject. 95 % intervals: bootstrap over subjects; Wilson for "
        "fractions."
    )
    return Table(title=title, columns=columns, rows=tuple(rows), note=note)
