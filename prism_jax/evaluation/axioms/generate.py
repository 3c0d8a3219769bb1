"""The counterfactuals of one image mechanism, as 8-bit pictures on disk: each file whole or not at all."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax import rng
from prism_jax.atomic import atomic_write
from prism_jax.evaluation.axioms import interventions
from prism_jax.evaluation.axioms.interventions import Do
from prism_jax.models.hvae import HVAE
from prism_jax.pixels import from_uint8, to_uint8
from prism_jax.scm import image_mechanism
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.image_mechanism import CounterfactualConfig
from prism_jax.scm.observed import Observed
from prism_jax.training.predict import predict_dataset

Columns = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imagined:
    """The counterfactuals of n images under one do, and the way back from them."""

    edited: np.ndarray  # uint8 [n, h, w, 1]
    after: Columns  # the counterfactual attributes [n], in their own units
    back: np.ndarray  # uint8 [n, h, w, 1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imagination:
    """An image mechanism with its attribute mechanisms, and how its counterfactuals are drawn."""

    image: HVAE
    mechanisms: AttributeModel
    config: CounterfactualConfig
    batch_size: int
    seed: int
    folder: Path

    def under(self, do: Do, data: Observed) -> Imagined:
        """There and back; read where it was made before."""
        return Imagined(**self._kept(f"do-{do.name}", lambda: self._there_and_back(do, data)))

    def cycled(self, data: Observed, t_u: float, cycles: Sequence[int]) -> dict[int, np.ndarray]:
        """{m: uint8 [n, h, w, 1]}: what m null interventions in a row make of the images."""
        found = self._kept(f"null-{t_u:g}", lambda: self._cycle(data, t_u, cycles))
        return {m: found[str(m)] for m in cycles}

    @cached_property
    def _root(self) -> jax.Array:
        return rng.stream(rng.key(self.seed), "axioms")

    def _there_and_back(self, do: Do, data: Observed) -> dict:
        edited, after = self._made(data, data.images, data.attributes, do, self.config.t_u, do.name)
        affected = jax.device_get(self.mechanisms.affected({name: jnp.asarray(c) for name, c in do.chosen.items()}))
        there = interventions.back(do, affected, data.attributes)
        again, _ = self._made(data, edited, after, there, self.config.t_u, f"{do.name} and back")
        return {"edited": edited, "after": after, "back": again}

    def _cycle(self, data: Observed, t_u: float, cycles: Sequence[int]) -> dict:
        none = interventions.nothing(self.mechanisms.graph, data.attributes)
        current, found = data.images, {}
        for m in range(1, max(cycles) + 1):
            current, _ = self._made(data, current, data.attributes, none, t_u, f"nothing, t_u {t_u:g}, round {m}")
            if m in cycles:
                found[str(m)] = current
        return found

    def _made(
        self, data: Observed, images: np.ndarray, attributes: Columns, do: Do, t_u: float, what: str
    ) -> tuple[np.ndarray, Columns]:
        """The counterfactuals of `images` with `attributes`, and theirs; `what` names progress and random numbers."""
        keys = rng.per_example(rng.stream(self._root, what), rng.example_ids(data.ids))
        imagine = lambda batch: _imagine(self.image, self.mechanisms, *batch, np.float32(t_u), config=self.config)
        rows = (images, dict(attributes), dict(do.given), dict(do.chosen), keys)
        made, after = predict_dataset(imagine, rows, self.batch_size, desc=f"do {what}")
        return to_uint8(made), after

    def _kept(self, name: str, make: Callable[[], dict]) -> dict:
        file = self.folder / f"{name}.npz"
        if not file.is_file():
            flat = {}
            for key, value in make().items():
                flat |= {f"{key}/{k}": v for k, v in value.items()} if isinstance(value, Mapping) else {key: value}
            with atomic_write(file) as partial_file:
                np.savez(partial_file, **flat)
        found: dict = {}
        with np.load(file) as arrays:
            for key in arrays.files:
                first, _, rest = key.partition("/")
                if rest:
                    found.setdefault(first, {})[rest] = arrays[key]
                else:
                    found[first] = arrays[key]
        return found


@partial(jax.jit, static_argnames=("config",))
def _imagine(
    image: HVAE,
    mechanisms: AttributeModel,
    pictures: jax.Array,
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
    made = image_mechanism.counterfactual(image, from_uint8(pictures), *parents, drawn, config=config, t_u=t_u)
    return made.images, after
