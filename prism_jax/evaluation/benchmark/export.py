"""One row per counterfactual of a benchmark, for other programs: `counterfactuals.parquet`."""

from collections.abc import Iterator
from pathlib import Path

from prism_jax.evaluation.benchmark.generate import file_of
from prism_jax.evaluation.benchmark.measure import Measurements
from prism_jax.evaluation.benchmark.tables import Results, mode_of
from prism_jax.evaluation.counterfactuals.manifest import write_table


def write(results: Results, run: Path) -> None:
    """Writes method, seed, subject, edit, image, every measure, and every judge's predictions, atomically."""
    import pyarrow as pa

    tables = [
        pa.table(_columns(results, method.name, mode_of(method), seed, measured, run))
        for method in results.methods
        for seed, measured in enumerate(results.seeds[method.name])
    ]
    write_table(pa.concat_tables(tables), run / "counterfactuals.parquet")


def _columns(results: Results, method: str, mode: str, seed: int, measured: Measurements, run: Path) -> dict[str, list]:
    queries = results.inputs.queries
    folder = measured.generated.folder.relative_to(run)
    same = {name: [value] * len(queries) for name, value in {"method": method, "mode": mode, "seed": seed + 1}.items()}
    named = {
        "id": [query.subject.id for query in queries],
        "patient": [query.subject.patient for query in queries],
        "edit": [query.edit for query in queries],
        "image": [str(folder / file_of("edited", query)) for query in queries],
    }
    return same | named | {name: list(map(float, values)) for name, values in _numbers(results, measured)}


def _numbers(results: Results, measured: Measurements) -> Iterator[tuple[str, list]]:
    yield from measured.values.items()
    for k, column in enumerate(results.inputs.columns):
        yield f"target: {column}", measured.targets[:, k]
        yield f"effect: {column}", measured.effects[:, k]
        for j, judge in enumerate(results.inputs.panel.judges):
            for kind in ("null", "edited"):
                yield f"{judge}, {kind}: {column}", measured.predictions[kind].scores[j, :, k]
