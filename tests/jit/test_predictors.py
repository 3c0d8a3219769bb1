"""Attribute predictors and the losses of counterfactual training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from prism_jax.models.predictors import MorphoConfig, MorphoPredictor, ResidualUnit
from prism_jax.scm import auxiliary, graphs
from tests.conftest import untrained

PHANTOM = graphs.phantom()


def test_the_multiplier_rises_while_the_limit_is_broken_and_never_falls_below_zero():
    tx = optax.adamw(0.1, weight_decay=0.0)
    step = jax.jit(lambda *given: auxiliary.raised(*given, tx))
    higher, state = step(jnp.float32(0.0), jnp.float32(0.5), tx.init(jnp.float32(0.0)))
    assert higher > 0
    for _ in range(9):
        higher, state = step(higher, jnp.float32(-5.0), state)
    assert higher == 0


def phantom_outputs(card_logit, age):
    binary = {name: jnp.zeros((2, 1)) for name in PHANTOM.names if name != "age"}
    return binary | {"cardiomegaly": jnp.full((2, 1), card_logit), "age": jnp.array([[age, 1.0], [age, 1.0]])}


@jax.jit
@jax.grad
def soft_gradient(logit, affected):
    """Of the soft loss in the logit of cardiomegaly, whose factual logit is 1 and which the targets have."""
    targets = {name: jnp.ones(2, jnp.int32) for name in PHANTOM.names} | {"age": jnp.full(2, 54.0)}
    chosen = dict.fromkeys(PHANTOM.names, False) | {"cardiomegaly": affected}
    factual = phantom_outputs(1.0, 0.0)
    return auxiliary.soft_loss(PHANTOM, phantom_outputs(logit, 0.0), targets, factual, chosen)


def test_soft_targets_leave_alone_what_looks_as_before_and_pull_what_was_set():
    assert abs(soft_gradient(1.0, False)) < 1e-6
    np.testing.assert_allclose(soft_gradient(1.0, True), 1 / (1 + np.exp(-1)) - 1, rtol=1e-5)


def test_random_interventions_pick_every_attribute_and_keep_its_values():
    subjects = {name: jnp.arange(8) for name in PHANTOM.names}
    draw = jax.jit(lambda key: auxiliary.random_intervention(PHANTOM, subjects, key))
    picked = set()
    for seed in range(60):
        given, chosen = draw(jax.random.key(seed))
        (name,) = (name for name, is_chosen in chosen.items() if is_chosen)
        picked.add(name)
        np.testing.assert_array_equal(np.sort(given[name]), np.arange(8))
    assert picked == set(PHANTOM.names)


def test_training_mode_renews_running_moments_and_drops_units():
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    graphdef, before = nnx.split(untrained(MorphoPredictor, MorphoConfig(size=8, width=1)).digit)

    @jax.jit
    def trained(state):
        net = nnx.merge(graphdef, state)
        net(images, training=True)
        return nnx.state(net)

    after = trained(before)
    assert (np.asarray(after["norms"][0]["mean"][...]) != np.asarray(before["norms"][0]["mean"][...])).all()
    np.testing.assert_array_equal(after["out"]["kernel"][...], before["out"]["kernel"][...])
    unit = untrained(lambda width, rngs: ResidualUnit(width, width, stride=1, dropout=0.2, rngs=rngs), 8)
    one, other = jax.jit(lambda x: [unit(x, jax.random.split(jax.random.key(i), len(x))) for i in (1, 2)])(
        np.tile(images, 8)
    )
    assert not np.allclose(one, other)
