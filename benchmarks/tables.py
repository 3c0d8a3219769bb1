"""Measurements as Markdown."""

import dataclasses
import statistics
from collections.abc import Sequence

from benchmarks import work


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One method, by one program, at one batch size; times in seconds."""

    method: str
    program: str  # "prism_jax", or the peer and its mode
    batch: int
    first: float  # of inversion and edit together, with compilation
    invert: tuple[float, ...]  # of the whole batch, every repeat
    edit: tuple[float, ...]

    @property
    def per_image(self) -> tuple[float, float]:
        """Median seconds per image of inversion and edit."""
        return tuple(statistics.median(times) / self.batch for times in (self.invert, self.edit))

    @property
    def compile(self) -> float:
        """Excess of the first call over the median of the others: compilation."""
        return max(0.0, self.first - sum(self.per_image) * self.batch)


def speeds(rows: Sequence[Row], operations: dict[str, tuple[float, float]], peak: float) -> str:
    """Times of all rows, and the fraction of `peak` they reach; `operations` per image are by hand, by method."""
    header = ["method", "program", "batch", "compile s", "invert s/image", "edit s/image", "both s/image"]
    header += ["invert TFLOP/s", "of peak", "edit TFLOP/s", "of peak"]
    body = []
    for row in rows:
        cells = [row.method, row.program, f"{row.batch}", f"{row.compile:.1f}"]
        cells += [f"{value:.4g}" for value in (*row.per_image, sum(row.per_image))]
        for count, time in zip(operations[row.method], row.per_image, strict=True):
            cells += [f"{count / time / 1e12:.3g}", f"{count / time / peak:.0%}"]
        body.append(cells)
    return markdown(header, body)


def counts(methods: Sequence[str], hand: work.UnitCosts, compiler: work.UnitCosts | None, **sizes: int) -> str:
    """Operations per image of every method, and of the unit programs, by both counts."""
    columns = [costs for costs in (hand, compiler) if costs is not None]
    body = []
    for unit in dataclasses.fields(work.UnitCosts):
        body.append(
            [f"unit: {unit.name.replace('_', ' ')}", *(f"{getattr(costs, unit.name) / 1e9:.4g}" for costs in columns)]
        )
    for method in methods:
        counts = [work.totals(method, costs, **sizes) for costs in columns]
        for part, name in enumerate(("invert", "edit")):
            body.append([f"{method}: {name}", *(f"{pair[part] / 1e9:.4g}" for pair in counts)])
    return markdown(["GFLOP per image", "by hand", "by compiler"][: 1 + len(columns)], body)


def speedup(rows: Sequence[Row]) -> str:
    """How many times as fast ours is as the peer, each at the batch size and in the mode it likes best."""
    own, other = (
        [row for row in rows if row.method == "null_text" and (row.program == "prism_jax") is is_own]
        for is_own in (True, False)
    )
    if not own or not other:
        return ""
    mine, theirs = (min(group, key=lambda row: sum(row.per_image)) for group in (own, other))
    factor = sum(theirs.per_image) / sum(mine.per_image)
    return (
        f"null_text and edit: {factor:.1f} times as fast per image as the peer "
        f"({sum(mine.per_image):.4g} s at batch {mine.batch}; {theirs.program} {sum(theirs.per_image):.4g} s at "
        f"batch {theirs.batch})"
    )


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[i]) for row in (header, *body)) for i in range(len(header))]
    line = lambda cells: "| " + " | ".join(f"{c:<{w}}" for c, w in zip(cells, widths, strict=True)) + " |"
    return "\n".join([line(header), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, body)])
