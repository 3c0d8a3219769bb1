"""Measurements of training as Markdown."""

import dataclasses
import statistics
from collections.abc import Sequence

from benchmarks.tables import markdown


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One program at one batch size; times in seconds."""

    program: str  # "prism_jax", or the peer and its mode
    batch: int
    is_cached: bool  # from latents; else images are encoded before every step
    remat: bool
    steps: int  # in a repeat
    first: float  # the first repeat, with compilation
    taken: tuple[float, ...]  # of one step, every repeat

    @property
    def images_per_second(self) -> float:
        """By the median repeat."""
        return self.batch / statistics.median(self.taken)

    @property
    def compile(self) -> float:
        """Excess time of the first repeat over the median of the others."""
        return max(0.0, self.first - statistics.median(self.taken) * self.steps)


def speeds(rows: Sequence[Row], operations: float, peak: float) -> str:
    """Speed of all rows, and the fraction of `peak` that they reach; `operations` of the UNet per image."""
    header = ["program", "batch", "latents", "remat", "compile s", "images/s", "slowest, fastest", "TFLOP/s", "of peak"]
    body = []
    for row in rows:
        slowest, fastest = (row.batch / pick(row.taken) for pick in (max, min))
        done = row.images_per_second * operations
        body.append(
            [
                row.program,
                f"{row.batch}",
                "cached" if row.is_cached else "encoded each step",
                "on" if row.remat else "off",
                f"{row.compile:.1f}",
                f"{row.images_per_second:.4g}",
                f"{slowest:.4g}, {fastest:.4g}",
                f"{done / 1e12:.3g}",
                f"{done / peak:.0%}",
            ]
        )
    return markdown(header, body)


def speedup(rows: Sequence[Row]) -> str:
    """Speed-up of our training over the peer's, with and without cache, each with its best settings."""
    lines = []
    for is_cached, name in ((True, "cached latents"), (False, "encoded each step")):
        here = [row for row in rows if row.is_cached is is_cached]
        own = [row for row in here if row.program == "prism_jax"]
        for program in sorted({row.program for row in here} - {"prism_jax"}):
            theirs = max((row for row in here if row.program == program), key=lambda row: row.images_per_second)
            if own:
                mine = max(own, key=lambda row: row.images_per_second)
                factor = mine.images_per_second / theirs.images_per_second
                lines.append(
                    f"{name}: {factor:.2f} times as fast as {program} ({mine.images_per_second:.4g} images/s at batch "
                    f"{mine.batch}; {theirs.images_per_second:.4g} at batch {theirs.batch})"
                )
    return "\n".join(lines)
