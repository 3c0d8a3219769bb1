"""Distances between feature vectors, in blocks: nearest neighbours without the whole matrix in memory. float64."""

from collections.abc import Iterator

import numpy as np

BLOCK = 512  # rows of one block of distances


def distance_blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Euclidean distances, float64 [rows, m], of slices of the rows of `a` [n, d] from all of `b` [m, d].

    Raises:
      ValueError: the features have different lengths.
    """
    if np.ndim(a) != 2 or np.ndim(b) != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features have the shapes {np.shape(a)} and {np.shape(b)}; give [n, d] and [m, d] of one d")
    # Distances are those of a common origin, and near it squares lose fewest digits.
    centre = np.mean(b, axis=0, dtype=np.float64)
    a, b = np.asarray(a, np.float64) - centre[None], np.asarray(b, np.float64) - centre[None]
    squares = np.einsum("nd,nd->n", b, b)
    for start in range(0, len(a), BLOCK):
        part = a[start : start + BLOCK]
        squared = np.einsum("nd,nd->n", part, part)[:, None] + squares[None] - 2.0 * part @ b.T
        yield slice(start, start + len(part)), np.sqrt(np.maximum(squared, 0.0))


def nearest(
    queries: np.ndarray,
    reference: np.ndarray,
    *,
    count: int = 1,
    query_patients: np.ndarray | None = None,
    reference_patients: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The `count` nearest rows of `reference` [m, d] to each of `queries` [n, d], nearest first.

    With patients [n] and [m] given, rows of a query's own patient are left out.

    Returns:
      Distances float64 [n, count], infinite where the reference has no more; indices int64 [n, count].

    Raises:
      ValueError: fewer rows than asked for, patients of one side only, features of different lengths.
    """
    if not 1 <= count <= len(reference):
        raise ValueError(f"{count} neighbours of {len(reference)} rows; count must be 1 to {len(reference)}")
    if (query_patients is None) != (reference_patients is None):
        raise ValueError("patients are given of one side only; give those of queries and reference, or neither")
    distances, indices = np.empty((len(queries), count)), np.empty((len(queries), count), np.int64)
    for rows, block in distance_blocks(queries, reference):
        if query_patients is not None:
            block[np.asarray(query_patients)[rows, None] == np.asarray(reference_patients)[None]] = np.inf
        order = np.argsort(block, axis=1, kind="stable")[:, :count]
        distances[rows], indices[rows] = np.take_along_axis(block, order, axis=1), order
    return distances, indices


def radii(features: np.ndarray, *, k: int) -> np.ndarray:
    """Distance of each row of [n, d] to its `k`-th nearest other row, float64 [n].

    Raises:
      ValueError: there are not more than `k` rows.
    """
    if len(features) <= k:
        raise ValueError(f"{len(features)} rows have no {k}-th neighbour each; give more than {k}")
    distances = np.empty(len(features))
    for rows, block in distance_blocks(features, features):
        block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = np.inf
        distances[rows] = np.partition(block, k - 1, axis=1)[:, k - 1]
    return distances
