"""Encoded images read back as written, from finished caches with the same settings only."""

import dataclasses

import numpy as np
import pytest

from prism_jax.data.loading.latent_cache import LatentCache, Settings, row_of
from prism_jax.data.schema import Attributes

SETTINGS = Settings(
    data="d", split="train", count=5, size=16, fit="pad", crop=None, vae="v", dtype="float32",
    has_variance=True, shape=(2, 3, 4), shard=2,
)  # fmt: skip
KNOWN = Attributes(age=63.0, sex="F", view="AP", findings={"edema": True, "mass": None, "fracture": False})
LATENTS = np.random.default_rng(0).normal(size=(5, 2, 3, 8)).astype(np.float16)


def write(cache, shards=range(3)):
    cache.begin()
    for i in shards:
        rows = range(2 * i, min(2 * i + 2, 5))
        told = [row_of(10 + n, KNOWN, f"note {n}") for n in rows]
        cache.write(i, [LATENTS[n] for n in rows], told)
    return cache.is_complete


def test_images_come_back_in_order(tmp_path):
    cache = LatentCache(folder=tmp_path, settings=SETTINGS)
    assert write(cache)
    latents = cache.open()
    assert len(latents) == 5
    for n in range(5):
        found, example = latents[n]
        np.testing.assert_array_equal(np.concatenate([found["latents"], found["logvar"]], -1), LATENTS[n])
        assert (example.id, example.attributes, example.text) == (10 + n, KNOWN, f"note {n}")


def test_a_cache_is_read_only_when_it_is_finished_and_goes_on_where_it_was(tmp_path):
    cache = LatentCache(folder=tmp_path, settings=SETTINGS)
    assert not write(cache, shards=[0, 2])
    with pytest.raises(ValueError, match=r"holds 2 of 3 shards of latents; run train\.encode_latents again"):
        cache.open()
    assert [cache.is_done(i) for i in range(3)] == [True, False, True]
    assert write(cache, shards=[1])
    assert len(cache.open()) == 5


@pytest.mark.parametrize(
    ("name", "value"), [("vae", "other"), ("data", "newer"), ("size", 32), ("has_variance", False)]
)
def test_latents_of_other_settings_are_refused_with_what_differs(tmp_path, name, value):
    write(LatentCache(folder=tmp_path, settings=SETTINGS))
    other = LatentCache(folder=tmp_path, settings=dataclasses.replace(SETTINGS, **{name: value}))
    for use in (other.open, other.begin):
        with pytest.raises(ValueError, match=f"are stale: {name} is .*, not {value}; remove the folder"):
            use()


def test_a_cache_that_knows_the_vae_by_its_files_is_read(tmp_path):
    write(LatentCache(folder=tmp_path, settings=dataclasses.replace(SETTINGS, vae="of the files")))
    cache = LatentCache(folder=tmp_path, settings=SETTINGS, vae_files="of the files")
    assert len(cache.open()) == 5
    with pytest.raises(ValueError, match="vae is of the files, not v"):
        dataclasses.replace(cache, vae_files="of other files").open()


def test_nothing_half_written_is_left(tmp_path):
    write(LatentCache(folder=tmp_path, settings=SETTINGS))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
