"""Counterfactual attributes of the published causal model."""

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from prism_jax.scm import graphs
from prism_jax.scm.attributes import AttributeModel
from tests.jit.test_scm_attributes import keys, only, replayed

PUBLISHED = {"widths": "widths", "heights": "heights", "slopes": "derivatives", "splits": "lambdas"}


def spline_of(trace, stem):
    return {ours: jnp.asarray(trace[f"params/{stem}.0.unnormalized_{theirs}"][0]) for ours, theirs in PUBLISHED.items()}


def root(logits):
    return ({"kernel": jnp.zeros((0, len(logits))), "bias": jnp.asarray(logits)},)


def layers_of(trace, stem):
    read = lambda i, kind: jnp.asarray(trace[f"params/{stem}.layers.{i}.{kind}"].T)
    return tuple({"kernel": read(i, "weight"), "bias": read(i, "bias")} for i in range(3))


def attributes_of(trace, stem, graph):
    """Attributes in their own units from a trace's scaled columns and one-hot rows."""
    found = {}
    for name in graph.names:
        value, kind = trace[f"{stem}/{name}"], graph[name].values
        found[name] = value.argmax(1) if value.shape[1] > 1 else kind.unscaled(value[:, 0])
        found[name] = np.asarray(found[name], np.int32 if kind.classes else np.float32)
    return found


def test_morpho_mnist_attributes_agree_with_the_trace(reference):
    trace = load_file(reference / "scm" / "traces" / "pgm_morpho.safetensors")
    graph = graphs.morphomnist()
    params = {
        "thickness": spline_of(trace, "thickness_module"),
        "intensity": layers_of(trace, "context_nn.context_nn"),
        "digit": root(trace["params/digit_logits"][0]),
    }
    model = AttributeModel(params=params, graph=graph)
    observed, set_to = (attributes_of(trace, f"in/{which}", graph) for which in ("obs", "do"))
    for name in graph.names:
        result, noise, log_prob = replayed(model, observed, set_to, only(graph, name), keys(3))
        np.testing.assert_allclose(log_prob[name], trace[f"out/log_prob/{name}"][:, 0], rtol=1e-3, atol=1e-6)
        expected = attributes_of(trace, f"out/do_{name}", graph)
        for other in graph.names:
            np.testing.assert_allclose(result[other], expected[other], rtol=3e-4)
    for name in ("thickness", "intensity"):
        np.testing.assert_allclose(noise[name], trace[f"out/exogenous/{name}_base"][:, 0], rtol=1e-3, atol=1e-5)
    mixed = load_file(reference / "scm" / "traces" / "hvae_cond.safetensors")
    np.testing.assert_allclose(graph.parents_vector(observed), mixed["in/pa"], atol=1e-6)


def test_chest_attributes_agree_with_the_trace(reference):
    trace = load_file(reference / "scm" / "traces" / "pgm_chest.safetensors")
    graph = graphs.mimic_cxr()
    params = {
        "age": spline_of(trace, "age_flow_components"),
        "race": root(trace["params/race_logits"][0]),
        "sex": root(np.append(0.0, trace["params/sex_logit"]).astype(np.float32)),
        "finding": layers_of(trace, "finding_transform_GumbelMax.context_nn"),
    }
    model = AttributeModel(params=params, graph=graph)
    observed = attributes_of(trace, "in/obs", graph)
    for name in ("race", "sex"):
        expected = attributes_of(trace, f"out/do_{name}", graph)
        result, noise, log_prob = replayed(model, observed, expected, only(graph, name), keys(400))
        for other in graph.names:
            np.testing.assert_allclose(result[other], expected[other], rtol=3e-4)
    for name in graph.names:
        np.testing.assert_allclose(log_prob[name], trace[f"out/log_prob/{name}"][:, 0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(noise["age"], trace["out/exogenous/age_base"][:, 0], rtol=1e-3, atol=1e-4)
