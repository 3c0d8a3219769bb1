"""Streams differ from one another; an example's draw does not depend on its batch."""

import jax
import numpy as np

from prism_jax import rng


def bits(key):
    return tuple(np.ravel(jax.random.key_data(key)).tolist())


def test_seeds_streams_and_steps_give_keys_of_their_own():
    keys = {
        bits(rng.at_step(rng.stream(rng.key(seed), name), step))
        for seed in (0, 1)
        for name in ("noise", "timestep")
        for step in (0, 1, 2)
    }
    assert len(keys) == 12


def test_a_stream_is_the_same_in_every_process():
    assert bits(rng.stream(rng.key(3), "noise")) == (1794123024, 2474711843)  # noted in another process


def test_the_key_of_an_example_does_not_depend_on_its_batch():
    ids = rng.example_ids(np.array([5, 2**31 - 1, 7]))
    together = rng.per_example(rng.key(0), ids)
    for i, id_ in enumerate(ids):
        assert bits(together[i]) == bits(rng.per_example(rng.key(0), np.array([id_]))[0])
    assert len({bits(key) for key in together}) == 3
