"""Null-text inversion on a toy: its laws."""

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax.diffusion import ddim, sampling
from prism_jax.diffusion.ddim import DDIMTable
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.editing import null_text

tune = jax.jit(null_text.tune, static_argnames=("predict", "inner_steps"))
STEPS, WIDTH = 5, 3


def toy(latents, t, context):
    """A "network" by which the context's mean decides the prediction."""
    return 0.3 * latents + context.mean(1)[:, None, None] * (1 + t / 1000)


def toy_run(
    inner_steps: int, tolerance: float = 0.0, images: slice = slice(None)
) -> tuple[tuple, jax.Array, DDIMTable]:
    """What tuning made of two images and the toy, the embedding it began from, and the table."""
    draw = np.random.default_rng(0)
    latents, context, null = (
        jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in ((2, 4, 4, WIDTH), (2, 6, WIDTH), (2, 6, WIDTH))
    )
    latents = latents * jnp.array([1.0, 0.2])[:, None, None, None]
    table = ddim.ddim_table(NoiseSchedule.create(ScheduleConfig()), STEPS)
    trajectory = ddim.invert(sampling.conditional(toy, context), latents, table)
    options = dict(guidance=jnp.float32(3.0), tolerance=jnp.float32(tolerance), inner_steps=inner_steps)
    made = tune(toy, trajectory[:, images], context[images], null[images], table, **options)
    return made, null[images], table


def test_without_updates_the_embedding_stays():
    (tuned, iterations, losses), null, _ = toy_run(inner_steps=0)
    np.testing.assert_array_equal(tuned, jnp.broadcast_to(null, tuned.shape))
    assert not iterations.any()
    assert losses.shape == (STEPS, 0, 2)


def test_one_update_is_made_even_where_the_loss_is_small_enough_at_once():
    (tuned, iterations, losses), null, table = toy_run(inner_steps=4, tolerance=1e6)
    np.testing.assert_array_equal(iterations, 1)
    assert jnp.isnan(losses[:, 1:]).all()
    assert jnp.isfinite(losses[:, 0]).all()
    # Adam's first update is the learning rate itself: moments begin anew at every step, the embedding is kept.
    moved = jnp.abs(jnp.diff(tuned, axis=0, prepend=null[None]))
    rate = 0.01 * (1 - table.step / 100)
    np.testing.assert_allclose(moved, jnp.broadcast_to(rate[:, None, None, None], moved.shape), rtol=1e-3)


def test_more_updates_land_closer():
    few, many = (toy_run(inner_steps=n)[0][2] for n in (2, 20))
    assert jnp.all(many[0, 19] < 0.75 * many[0, 0])
    np.testing.assert_allclose(many[0, :2], few[0], rtol=1e-6)


def test_images_of_a_batch_stop_each_at_its_own_time_and_as_if_alone():
    losses = toy_run(inner_steps=20)[0][2]
    tolerance = float(losses[0].min(0).max() * 1.5)
    both = toy_run(inner_steps=20, tolerance=tolerance)[0]
    iterations = np.asarray(both[1])
    assert (iterations[:, 0] != iterations[:, 1]).any()
    assert iterations.min() >= 1
    for i in range(2):
        alone = toy_run(inner_steps=20, tolerance=tolerance, images=slice(i, i + 1))[0]
        np.testing.assert_array_equal(alone[1][:, 0], iterations[:, i])
        np.testing.assert_allclose(alone[0][:, 0], both[0][:, i], atol=1e-6)
        np.testing.assert_allclose(alone[2][..., 0], both[2][..., i], rtol=1e-5)
