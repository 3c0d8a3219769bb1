"""Posterior Gumbel noise of the published causal model."""

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from prism_jax.scm import gumbel, perceptron
from prism_jax.scm.gumbel import GumbelMax
from prism_jax.scm.perceptron import PerceptronConfig


def test_posterior_and_logits_agree_with_the_trace(reference):
    trace = load_file(reference / "scm" / "traces" / "pgm_chest.safetensors")
    stem = "params/finding_transform_GumbelMax.context_nn.layers"
    layers = tuple(
        {"kernel": jnp.asarray(trace[f"{stem}.{i}.weight"].T), "bias": jnp.asarray(trace[f"{stem}.{i}.bias"])}
        for i in range(3)
    )
    config = PerceptronConfig(hidden=(8, 16), activation="sigmoid")
    mechanism = GumbelMax(logits=config)
    logits = perceptron.apply(config, layers, jnp.asarray(trace["in/obs/age"]))
    np.testing.assert_allclose(logits, trace["out/finding_logits"], rtol=3e-4, atol=1e-6)
    observed = jnp.asarray(trace["in/obs/finding"][:, 0], jnp.int32)
    noise = gumbel.posterior(logits, observed, -jnp.log(-jnp.log(jnp.asarray(trace["in/u_gumbel"]))))
    np.testing.assert_allclose(noise, trace["out/gumbel_exact/eps"], rtol=3e-4, atol=1e-5)
    for age, result in (("in/obs/age", "finding_null"), ("in/do/age", "finding_do_age")):
        replayed = mechanism.predict(layers, noise, jnp.asarray(trace[age]))
        np.testing.assert_array_equal(replayed, trace[f"out/gumbel_exact/{result}"][:, 0])
    likelihood = mechanism.log_prob(layers, observed, jnp.asarray(trace["in/obs/age"]))
    np.testing.assert_allclose(likelihood, trace["out/log_prob/finding"][:, 0], rtol=1e-3, atol=1e-6)
