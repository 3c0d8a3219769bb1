"""Laws of counterfactual images: what must hold whatever the network has learnt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax import rng
from prism_jax.models.hvae import HVAE, Descent
from prism_jax.models.hvae_blocks import Gaussian
from prism_jax.scm import elbo, image_mechanism
from prism_jax.scm.elbo import NegativeELBO
from prism_jax.scm.image_mechanism import CounterfactualConfig
from tests import tiny_configs
from tests.conftest import untrained

ALPHA = 0.65


@pytest.fixture(scope="module")
def exogenous() -> HVAE:
    return untrained(HVAE, tiny_configs.hvae(block="light", parents_max_res=4))


@pytest.fixture(scope="module")
def mediated() -> HVAE:
    return untrained(HVAE, tiny_configs.hvae(block="light", conditional_prior=True))


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 1)), jnp.float32)


@pytest.fixture(scope="module")
def parents():
    return jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (3, 3)), jnp.float32)


@pytest.fixture(scope="module")
def keys():
    return rng.per_example(rng.key(0), jnp.arange(3, dtype=jnp.uint32))


@jax.jit
def abduct(model, x, parents, keys, t_z):
    return image_mechanism.abduct(model, x, parents, elbo.draw(model.config, keys), t_z)


@jax.jit
def predict(model, noise, parents, t_u):
    return image_mechanism.predict(model, noise, parents, t_u=t_u)


@jax.jit
def mediate(model, noise, parents, keys, alpha):
    return image_mechanism.mediate(model, noise, parents, elbo.draw(model.config, keys), alpha=alpha)


@pytest.mark.parametrize("model", ["exogenous", "mediated"])
def test_a_null_intervention_with_all_of_the_pixels_noise_returns_the_image(model, images, parents, keys, request):
    model = request.getfixturevalue(model)
    noise = abduct(model, images, parents, keys, 0.1)
    np.testing.assert_allclose(predict(model, noise, parents, 1.0), images, atol=1e-5)
    assert float(jnp.abs(predict(model, noise, parents, 0.0) - images).mean()) > 0.1


@pytest.mark.parametrize(("model", "sees"), [("exogenous", False), ("mediated", True)])
def test_only_a_conditional_prior_sees_the_parents(model, sees, images, parents, keys, request):
    model = request.getfixturevalue(model)
    latents = abduct(model, images, parents, keys, 1.0).latents

    @jax.jit
    def slope(parents):
        moments = lambda p: sum(jnp.sum(g.loc**2 + g.log_scale**2) for g in model.decode(latents, p).priors)
        return jax.grad(moments)(parents)

    assert bool(jnp.any(slope(parents) != 0)) == sees  # exactly zero


def test_parents_only_leaves_latents_at_the_priors_mean_and_trains_what_parents_go_through(exogenous, images, parents):
    graphdef, state = nnx.split(exogenous)

    def loss(state, scale):
        noise = tuple(jnp.full((3, *shape), scale) for shape in exogenous.config.latent_shapes)
        config = NegativeELBO(parents_only=True)
        return elbo.negative_elbo(nnx.merge(graphdef, state), images, parents, noise, config=config, beta=1.0)[0]

    step = jax.jit(jax.value_and_grad(loss))
    (value, grads), (noisy, _) = step(state, 0.0), step(state, 1.0)
    assert float(value) == float(noisy)
    moves = lambda part: any(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(part))
    assert not moves(grads["encoder"])
    assert not any(moves(block["posterior"]) for block in grads["decoder"]["blocks"].values())
    assert moves(grads["decoder"]["parent_maps"])


def test_images_come_out_the_same_one_by_one(mediated, images, parents, keys):
    """Noise goes with the image's key, not with its place in the batch."""
    together = abduct(mediated, images, parents, keys, 1.0)
    swapped = abduct(mediated, images[::-1], parents[::-1], keys[::-1], 1.0)
    for a, b in zip(together.latents, swapped.latents, strict=True):
        np.testing.assert_allclose(a, b[::-1], atol=1e-5)


def test_all_weight_on_the_posterior_leaves_the_latents(mediated, images, parents, keys):
    noise = abduct(mediated, images, parents, keys, 0.1)
    moved = mediate(mediated, noise, -parents, keys, 1.0)
    for before, after in zip(noise.latents, moved.latents, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-5)
    moved = mediate(mediated, noise, -parents, keys, ALPHA)
    assert any(float(jnp.abs(a - b).max()) > 1e-2 for a, b in zip(noise.latents, moved.latents, strict=True))


def test_total_direct_and_indirect_effects_differ(mediated, images, parents, keys):
    changed = parents.at[:, 0].multiply(-1)
    noise = abduct(mediated, images, parents, keys, 1.0)
    moved = mediate(mediated, noise, changed, keys, ALPHA)
    direct, total, indirect = (
        predict(mediated, *pair, 0.0) for pair in ((noise, changed), (moved, changed), (moved, parents))
    )
    for one, other in ((total, direct), (total, indirect), (direct, indirect)):
        assert float(jnp.abs(one - other).max()) > 1e-3


def test_the_direct_effect_of_nothing_is_nothing_for_every_particle(mediated, images, parents, keys):
    config = CounterfactualConfig(effect="direct", t_z=1.0, t_u=1.0, particles=2)
    found = jax.jit(
        lambda changed: image_mechanism.counterfactual(mediated, images, parents, changed, keys, config=config)
    )
    null, changed = found(parents), found(-parents)
    np.testing.assert_allclose(null.images, images, atol=1e-5)
    np.testing.assert_allclose(null.variance, 0, atol=1e-6)
    assert float(changed.variance.max()) > 1e-4


def test_effects_of_mediators_are_refused_where_nothing_mediates(exogenous, images, parents, keys):
    config = CounterfactualConfig(effect="direct")
    with pytest.raises(ValueError, match="needs a conditional prior"):
        image_mechanism.counterfactual(exogenous, images, parents, parents, keys, config=config)


def test_bfloat16_keeps_latents_and_pixels_in_float32(images, parents, keys):
    model = untrained(HVAE, tiny_configs.hvae(dtype=jnp.bfloat16))
    noise = jax.eval_shape(lambda: abduct(model, images, parents, keys, 1.0))
    assert {leaf.dtype for leaf in jax.tree.leaves(noise)} == {jnp.dtype("float32")}


def test_a_third_of_batches_hides_parents_from_the_prior(parents):
    seen = jax.jit(jax.vmap(lambda key: elbo.dropped(parents, key, 1)))(jax.random.split(jax.random.key(0), 600))
    hidden = np.asarray((seen[:, :, 1:] == 0).all((1, 2)))
    assert hidden.mean() == pytest.approx(1 / 3, abs=0.06)
    np.testing.assert_array_equal(seen[~hidden], np.broadcast_to(parents, (int((~hidden).sum()), 3, 3)))
    np.testing.assert_array_equal(seen[:, :, 0], np.broadcast_to(parents[:, 0], (600, 3)))


def test_beta_rises_to_its_value():
    rising, constant = NegativeELBO(beta=9.0, warmup=4), NegativeELBO(beta=9.0)
    assert [float(rising.beta_at(jnp.int32(u))) for u in (0, 1, 3, 9)] == [2.25, 4.5, 9.0, 9.0]
    assert float(constant.beta_at(jnp.int32(0))) == 9.0


def test_free_bits_are_the_least_that_every_channel_costs():
    of = lambda loc: Gaussian(loc=jnp.full((3, 2, 2, 2), loc), log_scale=jnp.zeros((3, 2, 2, 2)))
    descent = Descent(state=None, latents=(), priors=(of(0.0), of(0.0)), posteriors=(of(1.0), of(0.0)))
    cost = lambda bits: float(elbo.divergence(descent, 64, bits)[1])
    # Each channel of the first costs 1/2 nat at each of four places, those of the second nothing.
    assert cost(0.0) == pytest.approx(2 * 2 / 64)
    assert cost(0.5) == pytest.approx((2 * 2 + 2 * 0.5) / 64)
    assert cost(8.0) == pytest.approx(4 * 8 / 64)


@pytest.mark.parametrize("options", [dict(t_z=-0.1), dict(alpha=1.5), dict(particles=0)])
def test_temperatures_and_weights_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="use temperatures from 0 up"):
        CounterfactualConfig(**options)
