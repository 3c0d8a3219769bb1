"""Counterfactuals of GANterfactual: an image is translated by the generator of the target class."""

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
from prism_jax.evaluation.benchmark.queries import NULL, Query
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.judges import Judge
from prism_jax.models.cyclegan import CycleGANConfig, Generator, Generators
from prism_jax.pixels import from_uint8, to_uint8
from prism_jax.weights import cyclegan
from prism_jax.weights.files import fingerprint


@dataclasses.dataclass(frozen=True, kw_only=True)
class TranslationEditor:
    """The generators of a method, by the attribute they were trained for.

    A null edit uses the generator of the image's own class (an image with the attribute goes through the generator that
    adds it), which the identity loss trains to change nothing. With several attributes it is that of the subject's
    first edit.
    """

    generators: Mapping[str, Generators]
    first: Mapping[str, str]  # attribute of the first edit of each subject, by id

    @property
    def size(self) -> int:
        return next(iter(self.generators.values())).config.size

    def expected(self, queries: Sequence[Query]) -> list[Attributes]:
        return [query.target for query in queries]

    def generate(self, images: np.ndarray, queries: Sequence[Query]) -> np.ndarray:
        """A batch that needs several generators goes through each; its time includes them all."""
        ways = [self.way(query) for query in queries]
        x, edited = from_uint8(jnp.asarray(images))[..., None], np.empty_like(images)  # [b, h, w, 1]
        for attribute, is_wanted in dict.fromkeys(ways):
            both = self.generators[attribute]
            translated = np.asarray(_translated(both.add if is_wanted else both.remove, x))[..., 0]
            rows = [way == (attribute, is_wanted) for way in ways]
            edited[rows] = to_uint8(translated[rows])
        return edited

    def way(self, query: Query) -> tuple[str, bool]:
        """The attribute of the query, and whether the counterfactual has it."""
        is_null = query.edit == NULL.name
        attribute = self.first[query.subject.id] if is_null else attribute_of(query.change, tuple(self.generators))
        return attribute, targets.state_of(attribute, query.target)


def load(method: Translator, queries: Sequence[Query]) -> TranslationEditor:
    """Loads the generators of a method; `queries` are all that it will get."""
    loaded = [cyclegan.load(folder) for folder in method.models]
    generators = {each.config.attribute: each for each in loaded}
    first = {query.subject.id: attribute_of(query.change, tuple(generators)) for query in reversed(queries)}
    return TranslationEditor(generators=generators, first=first)


def check(method: Translator, edits: Sequence[EditSpec], judges: Sequence[Judge]) -> None:
    """Raises ValueError for edits without a generator, and for judges used in training, before slow work."""
    config_of = {folder: cyclegan.described(folder) for folder in method.models}
    attributes = _attributes(method, tuple(config_of.values()))
    for change in edits:
        if attribute_of(change, attributes) is None:
            raise ValueError(
                f"method {method.name!r} was trained to add or remove only {', '.join(map(spoken, attributes))}, one "
                f"at a time, and cannot {change.name}; leave out that edit, or train one more model for the method"
            )
    for folder in config_of:
        trained_with = cyclegan.classifier_of(folder)
        for judge in judges:
            if fingerprint(judge.folder) == trained_with:
                raise ValueError(
                    f"method {method.name!r}: judge {judge.name} was in the training loss of {folder}; "
                    "train the method, or a judge, with another classifier"
                )


def attribute_of(edit: EditSpec, attributes: Sequence[str]) -> str | None:
    """The one of `attributes` that an edit adds or removes and nothing else; None for other edits."""
    parts = edit_language.parse(edit.edit)
    if len(parts) != 1 or parts[0].value is None:
        return None
    return synonyms.find(parts[0].name, attributes)


def _attributes(method: Translator, configs: Sequence[CycleGANConfig]) -> tuple[str, ...]:
    attributes, sizes = [config.attribute for config in configs], {config.size for config in configs}
    if len(set(map(spoken, attributes))) < len(attributes):
        raise ValueError(f"method {method.name!r}: models are of {', '.join(attributes)}; name one of each")
    if len(sizes) > 1:
        raise ValueError(f"method {method.name!r}: models are of {sorted(sizes)} pixels; train all at one size")
    return tuple(attributes)


@jax.jit
def _translated(generator: Generator, x: jax.Array) -> jax.Array:
    return generator(x)
