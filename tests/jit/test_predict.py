"""Batched inference: any number of rows, one compiled program, results in order on the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import sharding
from prism_jax.training.predict import predict_dataset

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 4), np.uint8)


def double(traces):
    @jax.jit
    def predict(batch):
        traces.append(jax.tree.leaves(batch)[0].shape)
        return jax.tree.map(lambda x: 2 * x.astype(jnp.float32), batch)

    return predict


@pytest.mark.parametrize("count", [1, 3, 6, 7])
def test_the_last_batch_is_padded_and_its_padding_dropped(count):
    traces = []
    results = predict_dataset(double(traces), IMAGES[:count], 3)
    np.testing.assert_array_equal(results, 2.0 * IMAGES[:count])
    assert isinstance(results, np.ndarray)
    assert traces == [(3, 4, 4)]


def test_rows_of_an_iterator_are_read_when_their_batch_is_due():
    read = []
    rows = (read.append(i) or image for i, image in enumerate(IMAGES))
    seen_by_first_batch = []

    def predict(batch):
        seen_by_first_batch.append(list(read))
        return batch

    np.testing.assert_array_equal(predict_dataset(predict, rows, 3), IMAGES)
    assert seen_by_first_batch[0] == [0, 1, 2]


def test_over_a_mesh_the_rows_keep_their_order_and_ids_become_uint32():
    mesh = sharding.make_mesh(jax.devices()[:1])
    arrays = {"image": IMAGES, "id": np.arange(7) + 2**33}
    results = predict_dataset(jax.jit(lambda batch: batch), arrays, 2, mesh=mesh)
    np.testing.assert_array_equal(results["image"], IMAGES)
    np.testing.assert_array_equal(results["id"], np.arange(7, dtype=np.uint32))
