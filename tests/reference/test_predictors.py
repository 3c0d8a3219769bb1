"""Attribute predictors and losses of counterfactual training in the published code."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from prism_jax.models.predictors import ChestConfig, ChestPredictor, MorphoConfig, MorphoPredictor
from prism_jax.scm import auxiliary, graphs, predictions
from tests.conftest import untrained

GRAPH = graphs.morphomnist()


@pytest.fixture(scope="module")
def traces(reference):
    return reference / "scm" / "traces"


def put(param, value):
    param[...] = jnp.asarray(value)


def fill_conv(conv, trace, name):
    put(conv.kernel, trace[f"{name}.weight"].transpose(2, 3, 1, 0))


def fill_norm(norm, trace, name):
    put(norm.scale, trace[f"{name}.weight"])
    put(norm.bias, trace[f"{name}.bias"])
    if isinstance(norm, nnx.BatchNorm):
        put(norm.mean, trace[f"{name}.running_mean"])
        put(norm.var, trace[f"{name}.running_var"])


def published_morpho(trace):
    model = untrained(MorphoPredictor, MorphoConfig(size=16))
    for net, stem in ((model.thickness, "t"), (model.intensity, "i"), (model.digit, "y")):
        for i, (conv, norm) in enumerate(zip(net.convs, net.norms, strict=True)):
            fill_conv(conv, trace, f"params/encoder_{stem}.cnn.{3 * i + (i > 0)}")
            fill_norm(norm, trace, f"params/encoder_{stem}.cnn.{3 * i + 1 + (i > 0)}")
        put(net.hidden.kernel, trace[f"params/encoder_{stem}.fc.0.weight"].T)
        fill_norm(net.norm, trace, f"params/encoder_{stem}.fc.1")
        put(net.out.kernel, trace[f"params/encoder_{stem}.fc.3.weight"].T)
        put(net.out.bias, trace[f"params/encoder_{stem}.fc.3.bias"])
    return model


def published_chest(trace):
    model = untrained(ChestPredictor, ChestConfig(widths=(8, 16, 24, 32)))
    fill_conv(model.stem, trace, "params/trunk/0")
    fill_norm(model.stem_norm, trace, "params/trunk/1")
    for i, unit in enumerate(model.units):
        name = f"params/trunk/{4 + i // 2}.{i % 2}"
        for part in ("1", "2"):
            fill_conv(getattr(unit, f"conv{part}"), trace, f"{name}.conv{part}")
            fill_norm(getattr(unit, f"bn{part}"), trace, f"{name}.bn{part}")
        if unit.downsample is not None:
            fill_conv(unit.downsample, trace, f"{name}.downsample.0")
            fill_norm(unit.downsample_norm, trace, f"{name}.downsample.1")
    for name, head in model.heads.items():
        put(head.kernel, trace[f"params/head/{name}/weight"].T)
        put(head.bias, trace[f"params/head/{name}/bias"])
    return model


def test_morpho_predictor_and_auxiliary_loss_agree_with_the_trace(traces):
    trace = load_file(traces / "pgm_morpho.safetensors")
    model = published_morpho(trace)
    scaled = {name: trace[f"out/do_thickness/{name}"] for name in GRAPH.names}
    targets = {name: GRAPH[name].values.unscaled(scaled[name][:, 0]) for name in ("thickness", "intensity")}
    targets["digit"] = scaled["digit"].argmax(1)

    @jax.jit
    def read(images, intensity):
        outputs = model(images, {"intensity": intensity})
        return outputs, predictions.log_prob(GRAPH, outputs, targets), auxiliary.hard_loss(GRAPH, outputs, targets)

    outputs, log_prob, loss = read(trace["in/cf_x"].transpose(0, 2, 3, 1), scaled["intensity"][:, 0])
    for name in ("thickness", "intensity"):
        np.testing.assert_allclose(outputs[name][:, 0], trace[f"out/predict_cf/{name}"][:, 0], rtol=3e-4)
    digits = predictions.probabilities(GRAPH, outputs)["digit"]
    np.testing.assert_allclose(digits, trace["out/predict_cf/digit"], rtol=3e-4)
    for name in GRAPH.names:
        np.testing.assert_allclose(log_prob[name], trace[f"out/aux_log_prob/{name}_aux"], rtol=1e-3)
    expected = json.loads((traces / "meta.json").read_text())["morpho_dscm"]["aux_loss"]
    np.testing.assert_allclose(loss, expected, rtol=1e-3)


def test_chest_predictor_agrees_with_the_trace(traces):
    trace = load_file(traces / "predictor_resnet.safetensors")
    model = published_chest(trace)
    read = jax.jit(lambda images, finding: (model.features(images), model(images, {"finding": finding})))
    features, outputs = read(trace["in/x"].transpose(0, 2, 3, 1), trace["in/finding"][:, 0])
    np.testing.assert_allclose(features, trace["out/feature"], rtol=3e-4, atol=1e-5)
    for name in ("sex", "finding", "race"):
        np.testing.assert_allclose(outputs[name], trace[f"out/{name}"], rtol=3e-4)
    np.testing.assert_allclose(outputs["age"][:, 0], trace["out/age"][:, 0], rtol=3e-4)
    np.testing.assert_allclose(outputs["age"][:, 1], np.logaddexp(0, trace["out/age"][:, 1]), rtol=3e-4)


def test_the_lagrangian_agrees_with_the_trace_in_value_and_derivatives(traces):
    rows = json.loads((traces / "meta.json").read_text())["morpho_dscm"]["lagrangian"]

    @jax.jit
    def loss_and_derivatives(energy, multiplier, row):
        loss = lambda *given: auxiliary.lagrangian(row["aux"], *given, limit=row["eps"], damping=row["damping"])
        return jax.value_and_grad(loss, (0, 1))(energy, multiplier)

    for row in rows:
        value, (by_energy, by_multiplier) = loss_and_derivatives(row["free_energy"], row["lmbda"], row)
        np.testing.assert_allclose(value, row["loss"], rtol=3e-4)
        np.testing.assert_allclose([by_energy, by_multiplier], [row["dloss_dfe"], row["dloss_dlmbda"]], rtol=3e-4)
