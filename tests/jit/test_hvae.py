"""Hierarchical VAE: laws of its configuration, heads and sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax.models.hvae import HVAE
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.weights import hvae as weights
from prism_jax.weights import pretrained
from tests import tiny_configs
from tests.conftest import untrained

nightly = pytest.mark.nightly


def test_a_folder_gives_back_the_network(tmp_path):
    model = untrained(HVAE, tiny_configs.hvae(channels=3, scale="shared", scale_init=0.2, parents_max_res=8))
    weights.save(model, tmp_path)
    loaded = weights.load(tmp_path)
    assert loaded.config == model.config
    same = lambda a, b: np.testing.assert_array_equal(a, b)
    jax.tree.map(same, nnx.to_pure_dict(nnx.state(loaded)), nnx.to_pure_dict(nnx.state(model)))


PAPER = {
    "morpho": (HVAEConfig(conditional_prior=True), 2.05e6),
    "mimic": (
        HVAEConfig(
            encoder="192b1d2,96b3d2,48b7d2,24b11d2,12b7d2,6b3d6,1b2",
            decoder="1b2,6b4,12b8,24b12,48b8,96b4,192b2",
            widths=(32, 64, 96, 128, 160, 192, 512),
            parents=6,
            z_max_res=96,
        ),
        7.98e6,
    ),
}


@pytest.mark.parametrize("name", ["morpho", pytest.param("mimic", marks=nightly)])
def test_the_papers_models_have_as_many_parameters_as_counted(name):
    config, expected = PAPER[name]
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(pretrained.abstract(HVAE, config))))
    assert count == pytest.approx(expected, rel=0.02)  # the published code has some that nothing reads
    assert len(config.latent_shapes) == {"morpho": 20, "mimic": 38}[name]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (
            dict(encoder="9b1d3,3b1d3,1b1", decoder="1b1,3b1,9b1"),
            "resolution 9 is odd; use only even resolutions, and 1",
        ),
        (dict(encoder="8b1d2,6b1d6,1b1"), "stage 8 shrinks 2 times"),
        (dict(decoder="1b1,8b1"), "must go through"),
        (dict(encoder="8b1d2,4b1d4,1x1"), "is not a list of stages"),
        (dict(widths=(4, 8)), "do not go with 3 stages"),
        (dict(widths=(2, 4, 8)), "below bottleneck"),
        (dict(likelihood="mixture"), "is of RGB images"),
        (dict(scale="fixed"), "needs scale_init above 0"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(options, complaint):
    with pytest.raises(ValueError, match=complaint) as error:
        tiny_configs.hvae(**options)
    assert "\n" not in str(error.value)


def test_images_and_parents_of_another_shape_are_refused():
    model = untrained(HVAE, tiny_configs.hvae())
    with pytest.raises(ValueError, match=r"parents of shape \(1, 2\) do not fit"):
        model.sample(jnp.zeros((1, 2)), ())
    with pytest.raises(ValueError, match=r"images of shape \(1, 8, 8, 3\) do not fit"):
        model.infer(jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 3)), ())
