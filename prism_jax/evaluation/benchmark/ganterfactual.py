"""Counterfactuals of GANterfactual: a picture is translated by the generator of the kind that is wanted."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax.data import targets
from prism_jax.data.captions import edit_language, synonyms
from prism_jax.data.captions.phrases import spoken
from prism_jax.data.schema import Attributes
from prism_jax.evaluation.benchmark.methods import Translator
from prism_jax.evaluation.benchmark.queries import NULL, Ask
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.judges import Judge
from prism_jax.models.cyclegan import CycleGANConfig, Generator, Generators
from prism_jax.pixels import from_uint8, to_uint8
from prism_jax.weights import cyclegan
from prism_jax.weights.files import fingerprint


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslatingMaker:
    """The generators of a row, by the attribute that they were trained for.

    With nothing to change, a picture goes through the generator of the kind that it is already, which the identity loss
    trains to leave it alone: one with the attribute through the generator that adds it. No other generator of a row
    with several attributes is asked then: it is that of the first edit of the subject.
    """

    generators: Mapping[str, Generators]
    first: Mapping[str, str]  # the attribute of the first edit of each subject, by id

    @property
    def size(self) -> int:
        return next(iter(self.generators.values())).config.size

    def shown(self, asks: Sequence[Ask]) -> list[Attributes]:
        return [ask.wanted for ask in asks]

    def make(self, pictures: np.ndarray, asks: Sequence[Ask]) -> np.ndarray:
        """A batch that needs several generators goes through each: its time counts them all."""
        ways = [self.way(ask) for ask in asks]
        x, made = from_uint8(jnp.asarray(pictures))[..., None], np.empty_like(pictures)  # [b, h, w, 1]
        for attribute, is_wanted in dict.fromkeys(ways):
            both = self.generators[attribute]
            translated = np.asarray(_translated(both.add if is_wanted else both.remove, x))[..., 0]
            rows = [way == (attribute, is_wanted) for way in ways]
            made[rows] = to_uint8(translated[rows])
        return made

    def way(self, ask: Ask) -> tuple[str, bool]:
        """The attribute that the ask is of, and whether its picture is to have it."""
        is_null = ask.edit == NULL.name
        attribute = self.first[ask.subject.id] if is_null else attribute_of(ask.change, tuple(self.generators))
        return attribute, targets.state_of(attribute, ask.wanted)


def load(row: Translator, asks: Sequence[Ask]) -> TranslatingMaker:
    """The maker of a row; `asks` are those that it will be given."""
    loaded = [cyclegan.load(folder) for folder in row.models]
    generators = {each.config.attribute: each for each in loaded}
    first = {ask.subject.id: attribute_of(ask.change, tuple(generators)) for ask in reversed(asks)}
    return TranslatingMaker(generators=generators, first=first)


def check(row: Translator, edits: Sequence[EditSpec], judges: Sequence[Judge]) -> None:
    """Raises ValueError for edits that the row was not trained for, and judges that trained it, before slow work."""
    known = {folder: cyclegan.described(folder) for folder in row.models}
    attributes = _attributes(row, tuple(known.values()))
    for change in edits:
        if attribute_of(change, attributes) is None:
            raise ValueError(
                f"row {row.name!r} was trained to add and to remove {', '.join(map(spoken, attributes))}, alone and "
                f"nothing else, and cannot {change.name}; leave out that edit, or train one more model for the row"
            )
    for folder in known:
        trained_with = cyclegan.classifier_of(folder)
        for judge in judges:
            if fingerprint(judge.folder) == trained_with:
                raise ValueError(
                    f"row {row.name!r}: judge {judge.name} was in the loss of {folder}, which was trained to have it "
                    "say what is wanted; train the row, or a judge, with another classifier"
                )


def attribute_of(edit: EditSpec, attributes: Sequence[str]) -> str | None:
    """The one of `attributes` that an edit sets to there or not there, and nothing else; None where it does not."""
    parts = edit_language.parse(edit.edit)
    if len(parts) != 1 or parts[0].value is None:
        return None
    return synonyms.find(parts[0].name, attributes)


def _attributes(row: Translator, configs: Sequence[CycleGANConfig]) -> tuple[str, ...]:
    attributes, sizes = [config.attribute for config in configs], {config.size for config in configs}
    if len(set(map(spoken, attributes))) < len(attributes):
        raise ValueError(f"row {row.name!r}: its models are of {', '.join(attributes)}; name one of each attribute")
    if len(sizes) > 1:
        raise ValueError(f"row {row.name!r}: its models are of {sorted(sizes)} pixels; train all at one size")
    return tuple(attributes)


@jax.jit
def _translated(generator: Generator, x: jax.Array) -> jax.Array:
    return generator(x)
