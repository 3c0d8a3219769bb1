"""CycleGAN's networks have the published shapes, windows and names; folders read as they were written."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax import config as configs
from prism_jax.models import cyclegan
from prism_jax.models.cyclegan import CycleGANConfig, Discriminator, Generator, Generators
from prism_jax.models.predictors import ChestConfig
from prism_jax.weights import cyclegan as weights
from prism_jax.weights import diffusers, pretrained
from tests import tiny_configs
from tests.conftest import manifest, untrained

TINY = tiny_configs.cyclegan()


def parameters(network, config):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(nnx.state(pretrained.abstract(network, config))))


def test_the_published_networks_have_as_many_parameters_as_published():
    config = CycleGANConfig.published(channels=3)
    assert config.blocks == 9
    assert parameters(Generator, config) == 11_378_179
    assert parameters(Discriminator, config) == 2_764_737
    assert CycleGANConfig.published(size=128).blocks == 6


@pytest.mark.parametrize(("size", "halvings", "places"), [(64, 3, 6), (24, 3, 1), (256, 2, 62)])
def test_generators_keep_the_shape_and_discriminators_judge_windows(size, halvings, places):
    config = CycleGANConfig(size=size, halvings=halvings)
    images = jax.ShapeDtypeStruct((2, size, size, 1), jnp.float32)
    run = lambda network: jax.eval_shape(lambda n, x: n(x), pretrained.abstract(network, config), images)
    assert run(Generator).shape == images.shape
    assert run(Discriminator).shape == (2, places, places, 1)


@pytest.mark.parametrize(("halvings", "size", "field"), [(1, 48, 16), (2, 64, 34), (3, 96, 70)])
def test_a_place_of_the_discriminator_sees_its_receptive_field(halvings, size, field, monkeypatch):
    monkeypatch.setattr(cyclegan, "instance_norm", lambda x: x)  # which lets every place know the whole image
    config = tiny_configs.cyclegan(halvings=halvings, size=size)
    network = untrained(Discriminator, config)

    def middle(image):
        judged = network(image[None])[0, ..., 0]
        return judged[len(judged) // 2, len(judged) // 2]

    image = jnp.asarray(np.random.default_rng(0).normal(size=(size, size, 1)), jnp.float32)
    rows, columns = np.nonzero(np.asarray(jax.jit(jax.grad(middle))(image))[..., 0])
    assert [np.ptp(rows) + 1, np.ptp(columns) + 1] == [field, field]
    assert rows.min() > 0
    assert rows.max() < size - 1  # not cut by the image's edge


def test_generators_stay_in_range_and_see_neither_contrast_nor_other_images():
    network, draw = untrained(Generator, TINY), np.random.default_rng(0)
    images = jnp.asarray(draw.uniform(-1, 1, (2, 16, 16, 1)), jnp.float32)
    first, second = images
    run = jax.jit(lambda x: network(x))
    made = run(images)
    assert float(jnp.abs(made).max()) < 1
    again = run(jnp.stack([second, 0.5 * first + 0.2]))
    np.testing.assert_allclose(again[0], made[1], atol=1e-5)
    np.testing.assert_allclose(again[1], made[0], atol=1e-3)


def test_doubling_is_the_transposed_convolution_of_pytorch():
    conv = untrained(Generator, TINY).ups[0]  # 8 -> 4 channels
    x = np.random.default_rng(1).normal(size=(1, 5, 5, 8)).astype(np.float32)
    kernel = diffusers.to_foreign(("kernel",), np.asarray(conv.kernel[...]))  # [in, out, 3, 3], as PyTorch has it
    spread = np.zeros((12, 12, 4))  # output_padding 1 more below, and 1 of padding all around
    for i, j in np.ndindex(5, 5):
        spread[2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += np.einsum("c,cokl->klo", x[0, i, j], kernel)
    expected = spread[1:11, 1:11] + np.asarray(conv.bias[...])
    np.testing.assert_allclose(conv(jnp.asarray(x))[0], expected, atol=1e-5)


def test_the_published_names_are_those_of_the_published_state_dict():
    config = CycleGANConfig.published(channels=3)
    shapes = manifest(pretrained.abstract(Generators, config), weights.names(config))
    assert len(shapes) == 2 * 48
    for name, shape in {
        "model.1.weight": (64, 3, 7, 7),
        "model.7.weight": (256, 128, 3, 3),
        "model.10.conv_block.1.weight": (256, 256, 3, 3),
        "model.18.conv_block.5.bias": (256,),
        "model.19.weight": (256, 128, 3, 3),  # transposed: inputs first
        "model.22.weight": (128, 64, 3, 3),
        "model.26.weight": (3, 64, 7, 7),
    }.items():
        assert shapes[f"add.{name}"] == shapes[f"remove.{name}"] == shape


def test_a_folder_of_generators_reads_as_it_was_written(tmp_path):
    network = untrained(Generators, dataclasses.replace(TINY, attribute="effusion"))
    weights.save(network, tmp_path)
    found = weights.load(tmp_path)
    assert found.config == weights.described(tmp_path) == network.config
    jax.tree.map(np.testing.assert_array_equal, *(nnx.to_pure_dict(nnx.state(each)) for each in (found, network)))


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no configuration .*give RUN/model of train\.ganterfactual"):
        weights.load(tmp_path)
    configs.write(ChestConfig(widths=(8, 16)), tmp_path)
    with pytest.raises(ValueError, match=r"holds a ChestConfig; give RUN/model of train\.ganterfactual"):
        weights.load(tmp_path)
    with pytest.raises(ValueError, match=r"training\.json does not say which classifier"):
        weights.classifier_of(tmp_path)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (dict(size=66), "size 66 is not a multiple of 4"),
        (dict(size=20), "size 20 .* 3 halvings need; use 24"),
        (dict(blocks=0), "blocks 0"),
    ],
)
def test_sizes_and_widths_that_cannot_be_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        CycleGANConfig(**options)
