"""The images of a report as a page shows them, each with its kind, caption and alternative text."""

import dataclasses
import difflib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from prism_jax.metrics.counterfactual import CHANGE_THRESHOLD
from prism_jax.report import figures
from prism_jax.report.encoding import Encoding
from prism_jax.report.images import EditRow, Sample, Strip, WordMap
from prism_jax.report.tables import number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Film:
    """An image, uint8 [h, w] or [h, w, 3], with its title and alternative text."""

    kind: str
    title: str
    image: np.ndarray
    alt: str


class Words(NamedTuple):
    """A run of words of a prompt; `is_changed` if the other prompt lacks it at this place."""

    text: str
    is_changed: bool


def changed_words(source: str, edited: str) -> tuple[tuple[Words, ...], tuple[Words, ...]]:
    """Both prompts cut into runs of common and of changed words, which joined by spaces give the prompts."""
    left, right = source.split(), edited.split()
    opcodes = difflib.SequenceMatcher(a=left, b=right, autojunk=False).get_opcodes()
    return (
        tuple(Words(" ".join(left[i:j]), tag != "equal") for tag, i, j, _, _ in opcodes if j > i),
        tuple(Words(" ".join(right[i:j]), tag != "equal") for tag, _, _, i, j in opcodes if j > i),
    )


def row(row: EditRow) -> dict[str, Any]:
    """One edit for the template."""
    source, edited = changed_words(row.source_prompt, row.edited_prompt)
    return {
        "subject": row.subject,
        "rank": row.rank,
        "source": source,
        "edited": edited,
        "films": [*_films(row)],
        "words": [word(word_map) for word_map in row.words],
        # As PNG, whatever the others are: it has to be transparent, and is small.
        "outline": None if row.mask is None else Encoding().uri(figures.outline(row.mask)),
        "metrics": {label: number(value) for label, value in row.metrics.items()},
    }


def _films(row: EditRow) -> Iterator[Film]:
    change = row.edited.astype(np.int16) - row.reconstruction
    fraction = np.mean(np.abs(change) > CHANGE_THRESHOLD)
    about = f"Original X-ray of subject {row.subject}"
    yield Film(kind="original", title="Original", image=row.original, alt=about)
    about = "The same, inverted and sampled back"
    yield Film(kind="reconstruction", title="Reconstruction", image=row.reconstruction, alt=about)
    yield Film(kind="edit", title="Edit", image=row.edited, alt=f"Edited X-ray: {row.edit}")
    yield Film(
        kind="difference",
        title="Difference",
        image=figures.difference_image(row.reconstruction, row.edited),
        alt=f"Signed difference, edit minus reconstruction: {fraction:.0%} of pixels change by more than "
        f"{CHANGE_THRESHOLD} grey levels, by {change.mean():+.1f} on average",
    )
    if row.truth is not None:
        about = f"True counterfactual: {row.edit}"
        yield Film(kind="truth", title="True counterfactual", image=row.truth, alt=about)


def word(word_map: WordMap) -> Film:
    """The attention map of a word over its image."""
    kind = ("new" if word_map.is_edited else "gone") if word_map.is_changed else "kept"
    over = "edit" if word_map.is_edited else "reconstruction"
    about = f"Cross-attention of the word {word_map.word!r} over the {over}, {np.mean(word_map.map):.1%} of all"
    title = f"{word_map.word} {number(figures.contrast(word_map.map))}×"
    return Film(
        kind=f"word-{kind}", title=title, image=figures.attention_image(word_map.image, word_map.map), alt=about
    )


def sample(sample: Sample) -> Film:
    """An image with its caption."""
    return Film(kind="sample", title=sample.caption, image=sample.image, alt=sample.caption)


def strip(strip: Strip) -> dict[str, Any]:
    """Images side by side."""
    return {"title": strip.title, "films": [sample(image) for image in strip.images], "metrics": dict(strip.metrics)}
