"""Kept inversions give the same pictures as those they were kept from, and stay within their size."""

import os

import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import editing
from prism_jax.evaluation.counterfactuals.inversion_store import InversionStore, rounded

PROMPTS = ("chest ray man", "woman with no effusion")


def inversion(method: str, b: int = 2) -> editing.Inversion:
    """Arrays as a method leaves them: null_text has an embedding for each step, direct has offsets."""
    draw = lambda *shape: jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    is_tuned = method == "null_text"
    return editing.Inversion(
        trajectory=draw(4, b, 4, 4, 4),
        context=draw(b, 77, 16),
        null_context=draw(3, b, 77, 16) if is_tuned else jnp.broadcast_to(draw(b, 77, 16), (3, b, 77, 16)),
        offsets=draw(3, b, 4, 4, 4) if method == "direct" else None,
        inner_iterations=jnp.ones((3, b), jnp.int32),
        guidance=jnp.float32(3.0),
        prompts=PROMPTS[:b],
        method=method,
    )


@pytest.mark.parametrize("method", ["null_text", "direct"])
def test_what_is_kept_is_what_was_rounded(method, tmp_path):
    made = inversion(method)
    kept = rounded(made)
    store = InversionStore(folder=tmp_path, gigabytes=1, model="a")
    store.save(["x", "y"], kept)
    facts = dict(guidance=made.guidance, prompts=made.prompts, method=method)
    again = store.load(["x", "y"], made.context, **facts)
    for name in ("trajectory", "null_context", "offsets", "inner_iterations"):
        if getattr(made, name) is None:
            assert getattr(again, name) is None
        else:
            np.testing.assert_array_equal(getattr(again, name), getattr(kept, name))
            np.testing.assert_allclose(getattr(again, name), getattr(made, name), rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(again.trajectory[0], made.trajectory[0])
    assert store.load(["x", "z"], made.context, **facts) is None


def test_keys_tell_images_prompts_settings_and_models_apart(tmp_path):
    store, other = (InversionStore(folder=tmp_path, gigabytes=1, model=name) for name in "ab")
    image = np.zeros((8, 8, 3), np.float32)
    given = (image, "man", {"steps": 3})
    keys = [
        store.key(*given),
        store.key(image + 1, *given[1:]),
        store.key(image, "woman", given[2]),
        store.key(*given[:2], {"steps": 4}),
        other.key(*given),
    ]
    assert len(set(keys)) == len(keys)
    assert store.key(image.copy(), "man", {"steps": 3}) == keys[0]


def test_the_longest_unused_make_room(tmp_path):
    made = inversion("ddim", b=1)
    InversionStore(folder=tmp_path, gigabytes=1, model="a").save(["x"], made)
    size = (tmp_path / "x.npz").stat().st_size / 2**30
    store = InversionStore(folder=tmp_path, gigabytes=2.5 * size, model="a")
    store.save(["y"], made)
    for age, name in enumerate("xy"):
        os.utime(tmp_path / f"{name}.npz", (age, age))
    facts = dict(guidance=made.guidance, prompts=made.prompts, method="ddim")
    assert store.load(["x"], made.context, **facts) is not None  # used last, so "y" goes
    store.save(["z"], made)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.npz", "z.npz"]
    with pytest.raises(ValueError, match="inversion_store_gigabytes must be above 0, got 0"):
        InversionStore(folder=tmp_path, gigabytes=0, model="a")
