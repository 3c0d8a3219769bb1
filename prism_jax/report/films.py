"""The pictures of a report as a page shows them: each with its kind, its caption and what it says in words."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from prism_jax.metrics.counterfactual import CHANGE_THRESHOLD
from prism_jax.report import figures
from prism_jax.report.captions import changed_words
from prism_jax.report.encoding import Encoding
from prism_jax.report.pictures import EditRow, Sample, Strip, WordMap
from prism_jax.report.tables import number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Film:
    """A picture, uint8 [h, w] or [h, w, 3], and its words."""

    kind: str
    title: str
    image: np.ndarray
    alt: str


def row(row: EditRow, limit: int) -> dict[str, Any]:
    """What the template shows of one edit; `limit` in grey levels is where the difference map saturates."""
    source, edited = changed_words(row.source_prompt, row.edited_prompt)
    return {
        "subject": row.subject,
        "rank": row.rank,
        "source": source,
        "edited": edited,
        "films": [*_films(row, limit)],
        "words": [word(found) for found in row.words],
        # As PNG, whatever the others are: it has to be transparent, and is small.
        "outline": None if row.mask is None else Encoding().uri(figures.outline(row.mask)),
        "metrics": {label: number(value) for label, value in row.metrics.items()},
    }


def _films(row: EditRow, limit: int) -> Iterator[Film]:
    change = row.edited.astype(np.int16) - row.reconstruction
    share = np.mean(np.abs(change) > CHANGE_THRESHOLD)
    about = f"Original X-ray of subject {row.subject}"
    yield Film(kind="original", title="Original", image=row.original, alt=about)
    about = "The same, inverted and sampled back"
    yield Film(kind="reconstruction", title="Reconstruction", image=row.reconstruction, alt=about)
    yield Film(kind="edit", title="Edit", image=row.edited, alt=f"Edited X-ray: {row.edit}")
    yield Film(
        kind="difference",
        title="Difference",
        image=figures.difference_image(row.reconstruction, row.edited, limit=limit),
        alt=f"Signed difference, edit less reconstruction: {share:.0%} of pixels change by more than "
        f"{CHANGE_THRESHOLD} grey levels, by {change.mean():+.1f} on average",
    )
    if row.truth is not None:
        about = f"True counterfactual: {row.edit}"
        yield Film(kind="truth", title="True counterfactual", image=row.truth, alt=about)


def word(found: WordMap) -> Film:
    """The map of a word over its picture."""
    kind = ("new" if found.is_edited else "gone") if found.is_changed else "kept"
    over = "edit" if found.is_edited else "reconstruction"
    about = f"Attention to the word {found.word!r} over the {over}, {np.mean(found.map):.1%} of all"
    title = f"{found.word} {number(figures.contrast(found.map))}×"
    return Film(kind=f"word-{kind}", title=title, image=figures.attention_image(found.image, found.map), alt=about)


def sample(found: Sample) -> Film:
    """A picture with its caption."""
    return Film(kind="sample", title=found.caption, image=found.image, alt=found.caption)


def strip(found: Strip) -> dict[str, Any]:
    """Pictures beside each other."""
    return {"title": found.title, "films": [sample(one) for one in found.pictures], "metrics": dict(found.metrics)}
