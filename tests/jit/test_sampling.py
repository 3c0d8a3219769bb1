"""Guidance mixes two predictions as it says, without retracing; the starting noise depends on ids alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.diffusion import sampling
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig

LATENTS = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
CONTEXT = jax.random.normal(jax.random.key(1), (2, 5, 3))
NULL = jax.random.normal(jax.random.key(2), (2, 5, 3))
T, STEP = jnp.int32(400), jnp.int32(1)


def network(latents, t, context):
    """Depends on all three inputs, and not linearly."""
    return jnp.tanh(latents + jnp.mean(context, axis=1)[:, None, None, :] * 3) * (1 + t / 1000)


@pytest.fixture(scope="module")
def schedule():
    return NoiseSchedule.create(ScheduleConfig())


def test_guidance_one_is_the_conditional_prediction_and_zero_the_null_one():
    conditional = sampling.conditional(network, CONTEXT)(LATENTS, T, STEP)
    null = sampling.conditional(network, NULL)(LATENTS, T, STEP)
    guided = [sampling.guided(network, CONTEXT, NULL, g)(LATENTS, T, STEP) for g in (1.0, 0.0, 3.0)]
    np.testing.assert_allclose(guided[0], conditional, atol=1e-6)
    np.testing.assert_allclose(guided[1], null, atol=1e-6)
    np.testing.assert_allclose(guided[2], null + 3 * (conditional - null), atol=1e-5)


def test_the_null_half_comes_first_in_the_batch():
    seen = []
    sampling.guided(lambda x, t, c: seen.append(c) or x, CONTEXT, NULL, 2.0)(LATENTS, T, STEP)
    np.testing.assert_array_equal(seen[0], jnp.concatenate([NULL, CONTEXT]))


def test_each_image_can_have_its_own_guidance():
    mixed = sampling.guided(network, CONTEXT, NULL, jnp.array([1.0, 5.0]))(LATENTS, T, STEP)
    for i, guidance in enumerate((1.0, 5.0)):
        alone = sampling.guided(network, CONTEXT, NULL, guidance)(LATENTS, T, STEP)
        np.testing.assert_allclose(mixed[i], alone[i], atol=1e-6)


def test_a_null_context_per_step_is_read_at_the_step():
    per_step = jnp.stack([NULL + 1, NULL, NULL - 1])  # [t, b, k, d]
    stepped = sampling.guided(network, CONTEXT, per_step, 2.0)(LATENTS, T, STEP)
    np.testing.assert_array_equal(stepped, sampling.guided(network, CONTEXT, NULL, 2.0)(LATENTS, T, STEP))


@pytest.mark.parametrize("sampler", sampling.SAMPLERS)
def test_a_second_guidance_prompt_or_start_does_not_retrace(sampler, schedule):
    traces = []

    @jax.jit
    def run(schedule, latents, context, guidance):
        traces.append(1)
        predict_noise = sampling.guided(network, context, NULL, guidance)
        return sampling.sample(predict_noise, latents, schedule, steps=4, sampler=sampler)

    first = run(schedule, LATENTS, CONTEXT, 7.5)
    second = run(schedule, LATENTS + 1, CONTEXT * 2, 3.0)
    assert len(traces) == 1
    assert first.shape == LATENTS.shape
    assert float(jnp.abs(first - second).max()) > 1e-3


def test_samplers_agree_when_the_prediction_is_perfect(schedule):
    clean = jnp.full(LATENTS.shape, 0.5)

    def predict_noise(latents, t, step):
        alpha = schedule.alphas_cumprod[t]
        return (latents - jnp.sqrt(alpha) * clean) / jnp.sqrt(1 - alpha)

    for sampler in sampling.SAMPLERS:
        sampled = sampling.sample(predict_noise, LATENTS, schedule, steps=5, sampler=sampler)
        np.testing.assert_allclose(sampled, clean, atol=0.15)  # DDIM stops at the alpha of timestep 0


def test_an_unknown_sampler_is_refused(schedule):
    with pytest.raises(ValueError, match="use one of ddim, dpm_solver"):
        sampling.sample(lambda x, t, s: x, LATENTS, schedule, steps=2, sampler="euler")


def test_half_precision_outputs_are_combined_in_float32():
    half = sampling.guided(lambda x, t, c: network(x, t, c).astype(jnp.bfloat16), CONTEXT, NULL, 7.5)
    assert half(LATENTS, T, STEP).dtype == jnp.float32


def test_initial_latents_depend_on_the_id_and_not_on_the_batch():
    key = jax.random.key(3)
    batch = sampling.initial_latents(key, jnp.array([4, 7, 9]), (4, 4, 3))
    alone = sampling.initial_latents(key, jnp.array([7]), (4, 4, 3))
    np.testing.assert_array_equal(batch[1], alone[0])
    assert float(jnp.abs(batch[0] - batch[1]).max()) > 0.1
