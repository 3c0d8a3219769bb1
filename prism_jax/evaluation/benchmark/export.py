"""A line for every counterfactual of a comparison, for other programs: `pictures.parquet`."""

import os
from collections.abc import Iterator
from pathlib import Path

from prism_jax.evaluation.benchmark.generate import file_of
from prism_jax.evaluation.benchmark.measure import Measured
from prism_jax.evaluation.benchmark.tables import Results, mode_of


def write(results: Results, run: Path) -> None:
    """Writes row, seed, subject, edit, picture, every measure, and what each judge saw; whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [
        pa.table(_columns(results, row.name, mode_of(row), seed, one, run))
        for row in results.rows
        for seed, one in enumerate(results.seeds[row.name])
    ]
    partial = run / f".pictures.parquet.{os.getpid()}"
    pq.write_table(pa.concat_tables(tables), partial)
    os.replace(partial, run / "pictures.parquet")


def _columns(results: Results, row: str, mode: str, seed: int, one: Measured, run: Path) -> dict[str, list]:
    asks = results.shared.asks
    folder = one.made.folder.relative_to(run)
    same = {name: [value] * len(asks) for name, value in {"row": row, "mode": mode, "seed": seed + 1}.items()}
    named = {
        "id": [ask.subject.id for ask in asks],
        "patient": [ask.subject.patient for ask in asks],
        "edit": [ask.edit for ask in asks],
        "picture": [str(folder / file_of("edited", ask)) for ask in asks],
    }
    return same | named | {name: list(map(float, values)) for name, values in _numbers(results, one)}


def _numbers(results: Results, one: Measured) -> Iterator[tuple[str, list]]:
    yield from one.values.items()
    for k, column in enumerate(results.shared.columns):
        yield f"target: {column}", one.targets[:, k]
        yield f"effect: {column}", one.effects[:, k]
        for j, judge in enumerate(results.shared.bench.judges):
            for kind in ("null", "edited"):
                yield f"{judge}, {kind}: {column}", one.seen[kind].scores[j, :, k]
