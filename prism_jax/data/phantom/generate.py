"""Images, attributes and true effects of many subjects, in chunks of one compiled program."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax.data.phantom.equations import (
    ATTRIBUTES,
    Equations,
    Exogenous,
    check_intervention,
    exogenous,
    intervene,
)
from prism_jax.data.phantom.geometry import cardiothoracic_ratio, effusion_sides
from prism_jax.data.phantom.render import finish, render

DEFAULT = Equations()
MASK_THRESHOLD = 3.0 / 255.0
SIZES = (32, 2048)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subjects:
    """Numpy arrays of n subjects, in the order asked for."""

    images: np.ndarray  # uint8 [n, h, w]
    attributes: dict[str, np.ndarray]  # each [n]: age float32, the others int32
    truth: dict[str, np.ndarray]  # each [n], as `truth` returns them


def truth(facts: dict[str, jax.Array], u: Exogenous) -> dict[str, jax.Array]:
    """Ground truth of the image of a subject with the attributes `facts`, beyond these.

    `cardiothoracic_ratio`; `effusion_left` and `effusion_right`, int32, the patient's sides (left is image
    right); `cardiomegaly_severity` and `effusion_severity` in [0, 1], 0 without the finding.
    """
    sides = effusion_sides(u) & (facts["effusion"] == 1)
    return {
        "cardiothoracic_ratio": cardiothoracic_ratio(facts, u),
        "cardiomegaly_severity": facts["cardiomegaly"] * u.cardiomegaly_severity,
        "effusion_severity": facts["effusion"] * u.effusion_severity,
        "effusion_left": sides[1].astype(jnp.int32),
        "effusion_right": sides[0].astype(jnp.int32),
    }


def generate(
    indices: Sequence[int] | np.ndarray,
    *,
    seed: int = 0,
    size: int = 128,
    equations: Equations = DEFAULT,
    do: Mapping[str, float | np.ndarray] | None = None,
    mode: str = "graph",
    batch: int = 64,
) -> Subjects:
    """Renders the subjects `indices` under the intervention `do` (a value for all, or one for each).

    Images depend only on (seed, index, size, equations, do, mode), not on `batch` or the other subjects; those of an
    accelerator may differ from the CPU's by one grey level. New values in `do` do not recompile. Raises
    ValueError for an intervention, index, size or batch that is out of range.
    """
    indices, plan = _checked(indices, seed, size, batch, do or {}, mode)
    facts, extra = _in_chunks(partial(_settle, equations=equations), batch, seed, indices, plan)
    images = _in_chunks(partial(_render_images, size=size), batch, seed, indices, facts)
    facts = {name: facts[name] for name in ATTRIBUTES}  # pytrees are returned sorted by name
    return Subjects(images=images, attributes=facts, truth=extra)


def change_mask(
    indices: Sequence[int] | np.ndarray,
    do: Mapping[str, float | np.ndarray],
    *,
    before: Mapping[str, float | np.ndarray] | None = None,
    seed: int = 0,
    size: int = 128,
    equations: Equations = DEFAULT,
    batch: int = 64,
) -> np.ndarray:
    """Bool [n, h, w]: where setting the attributes in `do`, and no others, changes the noise-free display by > 3/255.

    `before` sets attributes of the subject first. Empty where the subject has the values of `do` already. Raises
    ValueError as `generate` does.
    """
    facts = []
    for change in (do, before or {}):
        indices, plan = _checked(indices, seed, size, batch, change, "surgical")
        facts.append(_in_chunks(partial(_settle, equations=equations), batch, seed, indices, plan)[0])
    return _in_chunks(partial(_compare, size=size), batch, seed, indices, *facts)


def _checked(
    indices: Any, seed: int, size: int, batch: int, do: Mapping[str, Any], mode: str
) -> tuple[np.ndarray, Any]:
    """Indices as int32 [n], and the intervention as the arrays [n] that `equations.intervene` takes."""
    indices = np.asarray(indices)
    if indices.ndim != 1 or indices.size == 0 or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f"indices must be a list of whole numbers, got shape {indices.shape} and type {indices.dtype}")
    if indices.min() < 0 or indices.max() >= 2**31:
        outside = indices.min() if indices.min() < 0 else indices.max()
        raise ValueError(f"indices must be between 0 and {2**31 - 1}, got {outside}")
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed must be between 0 and {2**31 - 1}, got {seed}")
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"size must be between {SIZES[0]} and {SIZES[1]} pixels, got {size}")
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    check_intervention(do, mode)
    for name, value in do.items():
        if np.shape(value) not in ((), indices.shape):
            raise ValueError(f"do({name}) has shape {np.shape(value)}; give one value or {len(indices)}")
    kinds = {name: np.float32 if name == "age" else np.int32 for name in ATTRIBUTES}
    given = {name: np.full(indices.shape, do.get(name, 0), kind) for name, kind in kinds.items()}
    chosen = {name: np.full(indices.shape, name in do) for name in ATTRIBUTES}
    return indices.astype(np.int32), (given, chosen, np.full(indices.shape, mode == "surgical"))


def _in_chunks(program: Callable, batch: int, seed: int, *trees: Any) -> Any:
    """Runs `program(seed, count, *chunk)` on slices padded to `batch` subjects, and joins the results."""
    n, parts = len(trees[0]), []
    for start in range(0, n, batch):
        count = min(batch, n - start)
        rows = np.minimum(np.arange(start, start + batch), n - 1)  # the last chunk is padded with the last subject
        chunk = jax.tree.map(lambda leaf, rows=rows: leaf[rows], trees)
        done = program(seed, count, *chunk)
        parts.append(jax.tree.map(lambda leaf, count=count: np.asarray(leaf)[:count], done))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _for_each(function: Callable, count: jax.Array, *trees: Any) -> Any:
    """Maps `function` over the leading axis; on a CPU one subject at a time and only the first `count`.

    On a CPU one image fits the cache, and one program for every subject gives the same bytes in any batch.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function)(*trees)
    batch = jax.tree.leaves(trees)[0].shape[0]
    one = jax.eval_shape(function, *jax.tree.map(lambda leaf: leaf[0], trees))
    empty = jax.tree.map(lambda leaf: jnp.zeros((batch, *leaf.shape), leaf.dtype), one)

    def put(i, done):
        new = function(*jax.tree.map(lambda leaf: leaf[i], trees))
        return jax.tree.map(lambda all_, leaf: all_.at[i].set(leaf), done, new)

    return jax.lax.fori_loop(0, count, put, empty)


@partial(jax.jit, static_argnames="equations")
def _settle(seed, count, indices, plan, *, equations: Equations):
    def one(index, plan):
        u = exogenous(seed, index)
        facts = intervene(u, equations, *plan)
        return facts, truth(facts, u)

    return _for_each(one, count, indices, plan)


@partial(jax.jit, static_argnames="size")
def _render_images(seed, count, indices, facts, *, size: int):
    def one(index, facts):
        u = exogenous(seed, index)
        return finish(render(facts, u, size), u, size)

    return _for_each(one, count, indices, facts)


@partial(jax.jit, static_argnames="size")
def _compare(seed, count, indices, on, off, *, size: int):
    def one(index, on, off):
        u = exogenous(seed, index)
        pair = jax.tree.map(lambda *values: jnp.stack(values), on, off)
        shown, hidden = jax.lax.map(lambda facts: render(facts, u, size), pair)  # compiles one render, not two
        return jnp.abs(shown - hidden) > MASK_THRESHOLD

    return _for_each(one, count, indices, on, off)
