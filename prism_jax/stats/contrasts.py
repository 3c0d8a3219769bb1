"""Contrasts of edits on the same images: against negative controls, and interaction of two edits.

Each is a `Row` of changes per image, so the effect matrix tests it like any other row.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from prism_jax.stats.effects import Row


def difference_in_differences(row: Row, *controls: Row) -> Row:
    """Change by the edit minus the mean change by the negative controls, on the same images."""
    if not controls:
        raise ValueError("no negative control to compare the edit with; give one or more")
    first, *others = paired_by_image([row, *controls])
    return dataclasses.replace(first, changes=first.changes - np.mean([other.changes for other in others], axis=0))


def interaction(both: Row, first: Row, second: Row) -> Row:
    """Change by two edits together minus the sum of the changes by each alone. Meant for logits, which are additive."""
    together, alone, other = paired_by_image([both, first, second])
    return dataclasses.replace(together, changes=together.changes - alone.changes - other.changes)


def paired_by_image(rows: Sequence[Row]) -> list[Row]:
    """The rows restricted to their common images, in one order.

    Rows that name no images must be of the same patients in the same order.

    Raises:
      ValueError: rows that cannot be paired, have no image in common, or give one image to two patients.
    """
    named = [row.images is not None for row in rows]
    if not all(named):
        if any(named) or any(not np.array_equal(row.patients, rows[0].patients) for row in rows):
            raise ValueError("rows are not of the same images in the same order; give each its `images` to pair them")
        return list(rows)
    common = np.array(rows[0].images)
    for row in rows:
        if len(np.unique(row.images)) < len(row.images):
            raise ValueError("an image is named twice in a row; images of a row must have different names")
        common = np.intersect1d(common, row.images)
    if not len(common):
        raise ValueError("rows have no image in common; difference and interaction need the same images in each")
    cut = [_taken(row, common) for row in rows]
    if any(not np.array_equal(row.patients, cut[0].patients) for row in cut):
        raise ValueError("an image belongs to different patients in two rows; images must be named alike throughout")
    return cut


def _taken(row: Row, images: np.ndarray) -> Row:
    order = np.argsort(row.images)
    places = order[np.searchsorted(np.asarray(row.images)[order], images)]
    before = None if row.before is None else row.before[places]
    return dataclasses.replace(
        row, changes=row.changes[places], patients=row.patients[places], before=before, images=images
    )
