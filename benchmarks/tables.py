"""Measurements as Markdown."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from benchmarks import work


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One program at one setting and batch size; times in seconds."""

    setting: str  # method of inversion, or origin of the latents in training
    program: str  # "prism_jax", or the peer and its mode
    batch: int
    images: int  # that one call takes: the batch, times the steps in training
    remat: bool
    first: float  # the first call, with compilation
    calls: tuple[tuple[float, ...], ...]  # [repeat][part]; parts are inversion and edit, or the training steps

    @property
    def per_image(self) -> tuple[float, ...]:
        """Median seconds per image of each part."""
        return tuple(statistics.median(times) / self.images for times in zip(*self.calls, strict=True))

    @property
    def compile(self) -> float:
        """Excess of the first call over the median of the others: compilation."""
        return max(0.0, self.first - sum(self.per_image) * self.images)


def speeds(rows: Sequence[Row], parts: Sequence[str], operations: Mapping[str, tuple[float, ...]], peak: float) -> str:
    """Times of all rows, and the fraction of `peak` they reach; `operations` of each part per image, by setting."""
    header = ["setting", "program", "batch", "remat", "compile s", *(f"{part} s/image" for part in parts)]
    header += ["images/s", "slowest, fastest"]
    header += [name for part in parts for name in (f"{part} TFLOP/s", "of peak")]
    body = []
    for row in rows:
        cells = [row.setting, row.program, f"{row.batch}", "on" if row.remat else "off", f"{row.compile:.1f}"]
        cells += [f"{value:.4g}" for value in (*row.per_image, 1 / sum(row.per_image))]
        cells.append(", ".join(f"{row.images / pick(map(sum, row.calls)):.4g}" for pick in (max, min)))
        for count, time in zip(operations[row.setting], row.per_image, strict=True):
            cells += [f"{count / time / 1e12:.3g}", f"{count / time / peak:.0%}"]
        body.append(cells)
    return markdown(header, body)


def counts(methods: Sequence[str], columns: Sequence[work.UnitCosts], **sizes: int) -> str:
    """Operations per image of every method and of the unit programs, counted by hand and by the compiler."""
    body = []
    for unit in dataclasses.fields(work.UnitCosts):
        body.append(
            [f"unit: {unit.name.replace('_', ' ')}", *(f"{getattr(costs, unit.name) / 1e9:.4g}" for costs in columns)]
        )
    for method in methods:
        counts = [work.totals(method, costs, **sizes) for costs in columns]
        for part, name in enumerate(("invert", "edit")):
            body.append([f"{method}: {name}", *(f"{pair[part] / 1e9:.4g}" for pair in counts)])
    return markdown(["GFLOP per image", "by hand", "by compiler"], body)


def speedup(rows: Sequence[Row]) -> str:
    """How many times as fast ours is as the peer, by setting and mode, each at its best batch size."""
    best = {}
    for row in sorted(rows, key=lambda row: -sum(row.per_image)):
        best[row.setting, row.program] = row
    lines = []
    for (setting, program), theirs in sorted(best.items()):
        ours = best.get((setting, "prism_jax"))
        if ours is not None and ours is not theirs:
            mine, peers = sum(ours.per_image), sum(theirs.per_image)
            lines.append(
                f"{setting}: {peers / mine:.2f} times as fast as {program} ({mine:.4g} s/image at batch {ours.batch}; "
                f"{peers:.4g} at batch {theirs.batch})"
            )
    return "\n".join(lines)


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[i]) for row in (header, *body)) for i in range(len(header))]
    line = lambda cells: "| " + " | ".join(f"{c:<{w}}" for c, w in zip(cells, widths, strict=True)) + " |"
    return "\n".join([line(header), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, body)])
