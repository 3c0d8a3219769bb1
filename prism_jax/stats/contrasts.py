"""Rows made of rows, on the same images: against placebos, two edits together, growth with strength.

Each gives a change an image, so the effect matrix judges it like any other row.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from prism_jax.stats.effects import Row


def difference(row: Row, *placebos: Row) -> Row:
    """Difference in differences: what the edit did beyond the mean of what the placebos did to the same images."""
    if not placebos:
        raise ValueError("no placebo row to hold the edit against; give one or more")
    first, *others = paired([row, *placebos])
    return dataclasses.replace(first, changes=first.changes - np.mean([one.changes for one in others], axis=0))


def interaction(both: Row, first: Row, second: Row) -> Row:
    """What two edits together did beyond the sum of what each did alone. Meant for logits, where sums make sense."""
    together, one, other = paired([both, first, second])
    return dataclasses.replace(together, changes=together.changes - one.changes - other.changes)


def slope(doses: Mapping[float, Row]) -> Row:
    """The change with each unit of strength: least squares through 0 at strength 0, image by image.

    Raises:
      ValueError: fewer than two strengths, or one that is not positive.
    """
    strengths = check_strengths(doses)
    rows = paired([doses[strength] for strength in strengths])
    weights = np.array(strengths) / np.sum(np.square(strengths))
    changes = np.tensordot(weights, np.stack([row.changes for row in rows]), axes=1)
    return dataclasses.replace(rows[0], changes=changes)


def check_strengths(doses: Mapping[float, Row]) -> list[float]:
    """The strengths in order."""
    strengths = sorted(doses)
    if len(strengths) < 2 or strengths[0] <= 0:
        raise ValueError(f"strengths {strengths}: two or more above 0 are needed; at 0 nothing changes")
    return strengths


def paired(rows: Sequence[Row]) -> list[Row]:
    """The rows, cut to the images that all of them have, in one order.

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
