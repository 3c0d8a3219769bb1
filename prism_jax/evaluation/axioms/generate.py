"""Generates the counterfactuals of one image mechanism as 8-bit images on disk, each file atomically."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from prism_jax import rng
from prism_jax.atomic import atomic_write
from prism_jax.evaluation.axioms.interventions import Intervention
from prism_jax.models.hvae import HVAE
from prism_jax.pixels import from_uint8, to_uint8
from prism_jax.scm import image_mechanism
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.image_mechanism import CounterfactualConfig
from prism_jax.scm.observed import Observed
from prism_jax.training.predict import predict_dataset

Columns = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counterfactuals:
    """Counterfactuals of n images under one intervention, and their reverse."""

    edited: np.ndarray  # uint8 [n, h, w, 1]
    after: Columns  # the counterfactual attributes [n], in their own units
    back: np.ndarray  # uint8 [n, h, w, 1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CounterfactualGenerator:
    """An image mechanism with its attribute mechanisms and the options of its counterfactuals."""

    image: HVAE
    mechanisms: AttributeModel
    config: CounterfactualConfig
    batch_size: int
    seed: int
    folder: Path

    def generate(self, intervention: Intervention, data: Observed) -> Counterfactuals:
        """Counterfactuals and their reverse; read from disk where they exist."""
        return Counterfactuals(
            **self._stored(f"do-{intervention.name}", lambda: self._with_reverse(intervention, data))
        )

    def null_cycles(self, data: Observed, t_u: float, cycles: Sequence[int]) -> dict[int, np.ndarray]:
        """{m: uint8 [n, h, w, 1]}: the images after m null interventions in a row."""
        by_round = self._stored(f"null-{t_u:g}", lambda: self._cycle(data, t_u, cycles))
        return {m: by_round[str(m)] for m in cycles}

    @cached_property
    def _root(self) -> jax.Array:
        return rng.stream(rng.key(self.seed), "axioms")

    def _with_reverse(self, intervention: Intervention, data: Observed) -> dict:
        edited, after = self._counterfactuals(
            data, data.images, data.attributes, intervention, self.config.t_u, intervention.name
        )
        affected = jax.device_get(
            self.mechanisms.affected({name: jnp.asarray(c) for name, c in intervention.chosen.items()})
        )
        # Edited attributes and their descendants get their factual values again.
        reverse = dataclasses.replace(intervention, chosen=affected, given=data.attributes)
        again, _ = self._counterfactuals(data, edited, after, reverse, self.config.t_u, f"{intervention.name} and back")
        return {"edited": edited, "after": after, "back": again}

    def _cycle(self, data: Observed, t_u: float, cycles: Sequence[int]) -> dict:
        nothing = {name: np.zeros(len(data.ids), bool) for name in self.mechanisms.graph.names}
        none = Intervention(name="", chosen=nothing, given=data.attributes)
        current, by_round = data.images, {}
        for m in range(1, max(cycles) + 1):
            current, _ = self._counterfactuals(
                data, current, data.attributes, none, t_u, f"nothing, t_u {t_u:g}, round {m}"
            )
            if m in cycles:
                by_round[str(m)] = current
        return by_round

    def _counterfactuals(
        self,
        data: Observed,
        images: np.ndarray,
        attributes: Columns,
        intervention: Intervention,
        t_u: float,
        stream: str,
    ) -> tuple[np.ndarray, Columns]:
        """Counterfactuals of `images` with `attributes`, and their attributes; `stream` names the random stream."""
        keys = rng.per_example(rng.stream(self._root, stream), rng.example_ids(data.ids))
        generate = lambda batch: _generate(self.image, self.mechanisms, *batch, np.float32(t_u), config=self.config)
        rows = (images, dict(attributes), dict(intervention.given), dict(intervention.chosen), keys)
        generated, after = predict_dataset(generate, rows, self.batch_size, desc=f"do {stream}")
        return to_uint8(generated), after

    def _stored(self, name: str, make: Callable[[], dict]) -> dict:
        file = self.folder / f"{name}.npz"
        if not file.is_file():
            with atomic_write(file) as partial_file:
                np.savez(partial_file, **traverse_util.flatten_dict(make(), sep="/"))
        with np.load(file) as arrays:
            return traverse_util.unflatten_dict(dict(arrays), sep="/")


@partial(jax.jit, static_argnames=("config",))
def _generate(
    image: HVAE,
    mechanisms: AttributeModel,
    pixels: jax.Array,
    attributes: Columns,
    given: Columns,
    chosen: Columns,
    keys: jax.Array,
    t_u: jax.Array,
    *,
    config: CounterfactualConfig,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    own = jax.vmap(partial(rng.stream, name="attributes"))(keys)
    after = mechanisms.intervene(attributes, given, chosen, mechanisms.abduct(attributes, own))
    parents = [mechanisms.graph.parents_vector(each) for each in (attributes, after)]
    drawn = jax.vmap(partial(rng.stream, name="image"))(keys)
    result = image_mechanism.counterfactual(image, from_uint8(pixels), *parents, drawn, config=config, t_u=t_u)
    return result.images, after
