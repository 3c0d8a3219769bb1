"""What every row of a comparison is asked for: the same pictures of the same subjects, and the same edits."""

import dataclasses
from collections.abc import Sequence

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
class Ask:
    """One counterfactual that is asked for."""

    subject: Subject
    edit: str
    """The name of the change that is compared, also on the way back from it."""
    change: EditSpec
    """What a row is told: that change, its reverse, or a placebo."""
    stated: Attributes
    """What the picture that is handed over shows."""
    wanted: Attributes
    """What the counterfactual should show."""

    @property
    def key(self) -> tuple[str, str]:
        """Image and edit, which tell asks apart."""
        return self.subject.id, self.edit


@dataclasses.dataclass(frozen=True)
class KnownImages:
    """Those of other images of which everything is known that the graphs speak of."""

    images: Images
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def subject(self, index: int) -> Subject:
        return dataclasses.replace(self.images.subject(self.rows[index]), index=index)

    def read(self, index: int) -> bytes:
        return self.images.read(self.rows[index])


def known(images: Images, graphs: Sequence[Graph]) -> Images:
    """The images that every graph can be asked about; ValueError where there are none."""
    if not graphs:
        return images
    attributes = [images.subject(i).attributes for i in range(len(images))]
    rows = tuple(i for i, a in enumerate(attributes) if all(observations.observe(a, graph) for graph in graphs))
    if not rows:
        names = ", ".join(sorted({name for graph in graphs for name in graph.names}))
        raise ValueError(f"no image has all of {names} known, which a causal model here needs; name other data")
    return KnownImages(images, rows)


def asks_of(subjects: Sequence[Subject], edits: Sequence[EditSpec]) -> list[Ask]:
    """Every change of every subject; each wants what it names and nothing else changed."""
    found = []
    for subject in subjects:
        for edit in (edits[k] for k in subject.edits):
            wanted = phrases.changed(subject.attributes, edit.values(subject.attributes))
            ask = Ask(subject=subject, edit=edit.name, change=edit, stated=subject.attributes, wanted=wanted)
            found.append(ask)
    return found


def null(ask: Ask) -> Ask:
    """The same subject with nothing to change."""
    return dataclasses.replace(ask, change=NULL, edit=NULL.name, stated=ask.subject.attributes, wanted=ask.stated)


def back(ask: Ask, shown: Attributes) -> Ask:
    """The way back from the counterfactual, which is taken to show the attributes `shown`."""
    change = reverse(ask.change, ask.stated)
    return dataclasses.replace(ask, change=change, stated=shown, wanted=ask.stated)


def reverse(edit: EditSpec, attributes: Attributes) -> EditSpec:
    """What undoes a change of an image with these attributes, as strongly. "No finding" is not said again."""
    words = []
    for name in edit.values(attributes):
        if name in phrases.SLOTS:
            words.append(f"set {name} {getattr(attributes, name)}")
        elif name != FINDING:
            words.append(f"{'add' if attributes.findings[name] else 'remove'} {phrases.spoken(name)}")
    return dataclasses.replace(edit, edit=", ".join(words))


def firsts(asks: Sequence[Ask]) -> list[int]:
    """The first ask of every subject."""
    places: dict[str, int] = {}
    for i, ask in enumerate(asks):
        places.setdefault(ask.subject.id, i)
    return list(places.values())


def fitted(picture: np.ndarray, size: int, fit: Fit = "pad") -> np.ndarray:
    """A picture uint8 [h, w] as uint8 [size, size], resized once and rounded to 8 bits again."""
    return to_uint8(transforms.to_input(picture, size, fit, factor=1)[..., 0])
