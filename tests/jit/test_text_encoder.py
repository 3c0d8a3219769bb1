"""Text encoder: sizes, activations and sequence lengths."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.models.text_encoder import CLIPTextModel, TextConfig
from prism_jax.models.transformer import ACTIVATIONS
from tests import tiny_configs
from tests.conftest import relative_distance, untrained


def test_later_tokens_do_not_reach_earlier_positions():
    model = untrained(CLIPTextModel, tiny_configs.text_encoder())
    ids = jnp.arange(60)[None] % 64
    states, changed = (jax.jit(model)(ids) for ids in (ids, ids.at[0, 40].set(63)))
    np.testing.assert_array_equal(states[:, :40], changed[:, :40])
    assert jnp.all(jnp.abs(states - changed)[:, 40:].max(-1) > 1e-4)


def test_half_precision_computes_with_and_returns_float32():
    config = tiny_configs.text_encoder()
    full, half = (
        untrained(CLIPTextModel, dataclasses.replace(config, dtype=dtype)) for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype(jnp.float32)}
    states, expected = (model(jnp.arange(77)[None] % 64) for model in (half, full))
    assert states.dtype == jnp.float32
    assert 1e-4 < relative_distance(states, expected) < 0.1


def test_both_activations_are_the_published_formulas():
    x = np.linspace(-4, 4, 9, dtype=np.float32)
    gelu = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x]
    np.testing.assert_allclose(ACTIVATIONS["gelu"](x), gelu, atol=1e-6)
    np.testing.assert_allclose(ACTIVATIONS["quick_gelu"](x), x / (1 + np.exp(-1.702 * x)), atol=1e-6)


def test_configs_are_read_back_as_written_and_unknown_activations_refused():
    config = dataclasses.replace(tiny_configs.text_encoder(), hidden_act="gelu")
    assert TextConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match=r"hidden_act 'relu' is not one of \['quick_gelu', 'gelu'\]"):
        TextConfig.from_dict({"hidden_act": "relu"})
