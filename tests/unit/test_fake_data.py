"""Synthetic examples: like those of a data set, without one."""

import numpy as np

from prism_jax.data import transforms
from prism_jax.data.loading import fake_data, pipeline


def test_examples_go_through_the_pipeline_like_any_other():
    source = fake_data.fake_examples(10, 64, distinct=3)
    batch = next(pipeline.batches(source, 4, size=64, seed=0))
    assert batch["image"].shape == (4, 64, 64, 3)
    assert len(set(batch["id"].tolist())) == 4


def test_images_are_as_large_as_x_rays():
    (example,) = fake_data.fake_examples(1, 512, distinct=1)
    assert transforms.decode(example.image).shape == (512, 512)
    assert 30_000 < len(example.image) < 120_000


def test_one_seed_makes_one_source_and_copies_are_the_same():
    source = fake_data.fake_examples(5, 32, seed=1)
    assert source == fake_data.fake_examples(5, 32, seed=1)
    assert source != fake_data.fake_examples(5, 32, seed=2)
    assert [example.id for example in source] == list(range(5))


def test_images_differ():
    source = fake_data.fake_examples(4, 32, distinct=2)
    pictures = [transforms.decode(example.image) for example in source]
    np.testing.assert_array_equal(pictures[0], pictures[2])
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() > 5
