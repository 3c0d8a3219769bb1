"""Queries of a benchmark: the same images and edits of the same subjects for every method."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from prism_jax.data import transforms
from prism_jax.data.captions import phrases
from prism_jax.data.schema import FINDING, Attributes
from prism_jax.data.transforms import Fit
from prism_jax.evaluation.edits import REPEAT, EditSpec
from prism_jax.evaluation.subjects import Images, Subject
from prism_jax.pixels import to_uint8
from prism_jax.scm import observations
from prism_jax.scm.graph import Graph

NULL = EditSpec(edit=REPEAT)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Query:
    """One requested counterfactual."""

    subject: Subject
    edit: str
    """Name of the edit that is compared, also for its reverse."""
    change: EditSpec
    """The edit to apply: that edit, its reverse, or the null edit."""
    source: Attributes
    """Attributes of the input image."""
    target: Attributes
    """Attributes of the counterfactual."""
    original: Callable[[int], np.ndarray]
    """The subject's image at a size, uint8 [size, size]."""

    @property
    def key(self) -> tuple[str, str]:
        """Image and edit, which identify a query."""
        return self.subject.id, self.edit


def with_known_parents(images: Images, graphs: Sequence[Graph]) -> Images:
    """The images that every graph applies to; ValueError where there are none."""
    if not graphs:
        return images
    attributes = [images.subject(i).attributes for i in range(len(images))]
    rows = tuple(i for i, a in enumerate(attributes) if all(observations.observe(a, graph) for graph in graphs))
    if not rows:
        names = ", ".join(sorted({name for graph in graphs for name in graph.names}))
        raise ValueError(f"no image has labels of all of {names}, which a causal model needs; name other data")
    return Images(
        count=len(rows),
        subject=lambda index: dataclasses.replace(images.subject(rows[index]), index=index),
        read=lambda index: images.read(rows[index]),
    )


def queries_of(
    subjects: Sequence[Subject], edits: Sequence[EditSpec], original: Callable[[int, int], np.ndarray]
) -> list[Query]:
    """One query per subject and edit; its target changes the edited attributes and nothing else.

    `original` reads a subject's image from its index and a size.
    """
    queries = []
    for subject in subjects:
        for edit in (edits[k] for k in subject.edits):
            wanted = phrases.changed(subject.attributes, edit.values(subject.attributes))
            about = dict(source=subject.attributes, target=wanted, original=partial(original, subject.index))
            queries.append(Query(subject=subject, edit=edit.name, change=edit, **about))
    return queries


def null(query: Query) -> Query:
    """The query of the null edit of the same subject."""
    return dataclasses.replace(query, change=NULL, edit=NULL.name, source=query.subject.attributes, target=query.source)


def back(query: Query, shown: Attributes) -> Query:
    """The query of the reverse edit, from a counterfactual with the attributes `shown`."""
    change = reverse(query.change, query.source)
    return dataclasses.replace(query, change=change, source=shown, target=query.source)


def reverse(edit: EditSpec, attributes: Attributes) -> EditSpec:
    """The edit, of the same strength, that undoes `edit` of an image with these attributes; omits "no finding"."""
    words = []
    for name in edit.values(attributes):
        if name in phrases.SLOTS:
            words.append(f"set {name} {getattr(attributes, name)}")
        elif name != FINDING:
            words.append(f"{'add' if attributes.findings[name] else 'remove'} {phrases.spoken(name)}")
    return dataclasses.replace(edit, edit=", ".join(words))


def firsts(queries: Sequence[Query]) -> list[int]:
    """Indices of the first query of every subject."""
    return sorted(np.unique([query.subject.id for query in queries], return_index=True)[1].tolist())


def fitted(image: np.ndarray, size: int, fit: Fit = "pad") -> np.ndarray:
    """Image uint8 [h, w] -> uint8 [size, size], resized once and rounded to 8 bits."""
    return to_uint8(transforms.to_input(image, size, fit, factor=1)[..., 0])
