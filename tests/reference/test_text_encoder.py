"""Text encoder of transformers, layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax.models.transformer import EncoderLayer
from tests.conftest import recorded
from tests.reference.conftest import load_trace

BOUND = 3e-5  # of one network call; the reference's own rounding is 2e-6


def test_every_layer_agrees_with_the_reference(sd15, monkeypatch):
    arrays = load_trace("02_text_encoder").arrays
    outputs = recorded(monkeypatch, EncoderLayer)

    @jax.jit
    def run(model, ids):
        last = model(ids)
        return last, [outputs[id(layer)] for layer in model.layers], model(ids, skip_layers=1)

    last, layers, penultimate = run(sd15.text_encoder, jnp.asarray(arrays["input_ids"]))
    for i, layer in enumerate(layers, 1):
        np.testing.assert_allclose(layer[:1], arrays[f"hidden_states_{i}_prompt0"], rtol=0, atol=BOUND)
    np.testing.assert_allclose(last, arrays["last_hidden_state"], rtol=0, atol=BOUND)
    np.testing.assert_allclose(penultimate, arrays["penultimate_final_ln"], rtol=0, atol=BOUND)
