"""Text of table cells."""

import dataclasses
import math
import numbers

from prism_jax.report.document import Cell, Check
from prism_jax.stats.intervals import Estimate

MIN_P = 0.001  # smaller p-values are not printed


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


def p_value(value: float) -> str | None:
    """A p-value or false discovery rate with three decimals, "< 0.001" below that; None for NaN, a dash in tables."""
    if math.isnan(value):
        return None
    return f"< {MIN_P}" if value < MIN_P else f"{value:.3f}" if value < 0.995 else "1"
