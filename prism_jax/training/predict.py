"""Batched inference over a whole data set."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from prism_jax import rng, sharding


def predict_dataset(
    predict: Callable[[Any], Any], rows: Any, batch_size: int, *, mesh: Mesh | None = None, desc: str | None = None
) -> Any:
    """`predict(batch)` for all n rows of a data set, as NumPy arrays [n, ...].

    The last batch is padded with its last row, so that one compiled program serves all of them; results of padding are
    dropped.

    Args:
      predict: jitted, from a pytree of arrays [batch_size, ...] to one of arrays [batch_size, ...].
      rows: a pytree of arrays [n, ...], or an iterator over n arrays, which are read when needed. In a mapping, "id" is
        passed on as uint32, as `rng.per_example` takes it.
      mesh: the batch is sharded over its devices, and `predict` must give replicated arrays; None: the devices of this
        process, as many as `batch_size` divides over.
      desc: of the progress bar; None: no bar.
    """
    batches = _stacked(rows, batch_size) if isinstance(rows, Iterator) else _sliced(rows, batch_size)
    results = []
    with tqdm(desc=desc, unit="image", mininterval=5, disable=desc is None) as bar:
        for batch in batches:
            count = len(jax.tree.leaves(batch)[0])
            results.append(jax.tree.map(lambda x, n=count: x[:n], _on_device(predict, batch, batch_size, mesh)))
            bar.update(count)
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


def predict_over_mesh(forward: Callable[..., Any], batch_size: int, mesh: Mesh) -> Callable[..., Any]:
    """`predict(*arguments, rows)`: `forward(*arguments, batch)`, compiled here, for all rows, as `predict_dataset`."""
    compiled = jax.jit(forward, out_shardings=sharding.replicated(mesh))
    return lambda *given: predict_dataset(partial(compiled, *given[:-1]), given[-1], batch_size, mesh=mesh)


def _on_device(predict: Callable[[Any], Any], batch: Any, batch_size: int, mesh: Mesh | None) -> Any:
    if len(jax.tree.leaves(batch)[0]) < batch_size:  # the last row is repeated
        batch = jax.tree.map(lambda x: x[np.minimum(np.arange(batch_size), len(x) - 1)], batch)
    if mesh is not None:
        batch = sharding.to_global(batch, sharding.batch_sharding(mesh))
    elif (mesh := sharding.local_mesh(batch_size)) is not None:
        batch = jax.device_put(batch, sharding.batch_sharding(mesh))
    with contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh):
        return jax.device_get(predict(batch))


def _sliced(arrays: Any, size: int) -> Iterator[Any]:
    if isinstance(arrays, Mapping) and "id" in arrays:
        arrays = {**arrays, "id": rng.example_ids(arrays["id"])}
    for start in range(0, len(jax.tree.leaves(arrays)[0]), size):
        yield jax.tree.map(lambda array, at=start: array[at : at + size], arrays)


def _stacked(rows: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    while batch := list(islice(rows, size)):
        yield np.stack(batch)
