"""Null-text tuning agrees with the authors' code in losses, stops and embeddings, and keeps its laws on a toy."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.diffusion import ddim, sampling
from prism_jax.diffusion.ddim import DDIMTable
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.editing import null_text
from prism_jax.stable_diffusion import StableDiffusion
from tests.conftest import channels_last, load_trace, relative_distance

tune = jax.jit(null_text.tune, static_argnames=("predict", "inner_steps"))
STEPS, WIDTH = 5, 3


class Recorded(NamedTuple):
    """A run of the authors' code, with the arrays it began from."""

    trajectory: jax.Array  # [t + 1, 1, h, w, 4]
    context: jax.Array  # [1, 77, d]
    null: jax.Array  # [1, 77, d]
    meta: dict
    tuned: np.ndarray  # [t, 77, d]
    guidance: float


def recorded_run(stem: str, variant: str | None) -> Recorded:
    arrays, meta = load_trace(stem)
    prompt = load_trace("09_null_text_10_small").arrays  # all runs at 32x32 have one prompt
    trajectory = channels_last(arrays["ddim_inversion_latents"])[:, None]
    tuned = arrays[f"{variant}_uncond_embeddings" if variant else "uncond_embeddings"]
    meta = {"steps": meta["steps"]} | (meta["variants"][variant] if variant else meta | meta.get("f32", {}))
    return Recorded(
        trajectory, *(jnp.asarray(prompt[k]) for k in ("cond", "uncond")), meta, tuned, meta["guidance_scale"]
    )


@pytest.mark.slow
def test_losses_and_embeddings_agree_with_the_reference(sd15):
    run = recorded_run("09_null_text_10_small", None)
    tuned, iterations, losses = optimise(
        sd15.unet, run.trajectory, run.context, run.null, table_of(run, sd15), **options_of(run, inner_steps=5)
    )
    assert_same_losses_and_stops(run, range(len(run.tuned)), iterations, losses)
    shift = np.linalg.norm(run.tuned - np.asarray(run.null))
    assert np.linalg.norm(tuned[:, 0] - run.tuned) < 1e-2 * shift


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stem", "variant", "steps"),
    [
        ("09_null_text_early_stop", "gs2_eps1e-5_inner10", (0, 9)),
        ("09_null_text_early_stop", "gs7.5_eps_high_inner8", (0, 1, 8)),  # stopped after 1, 5 and 5 updates
        ("09_null_text_50", None, (25,)),
    ],
)
def test_a_step_agrees_with_the_reference_from_where_that_stood(stem, variant, steps, sd15):
    """Of long runs single steps: rounding adds up over hundreds of Adam updates, in the reference as much as here."""
    run = recorded_run(stem, variant)
    table, landed = table_of(run, sd15), replayed(run, sd15)
    if variant is None:
        assert_same_reconstruction(landed[4::5], load_trace(stem).arrays["reconstruction_latents_every5th_step"])
    for step in steps:
        tuned_before = jnp.asarray(run.tuned[step - 1])[None] if step else run.null
        start = landed[step - 1] if step else run.trajectory[-1]
        ends = jnp.stack([run.trajectory[-2 - step], start])
        row = jax.tree.map(lambda x, step=step: x[step : step + 1], table)
        tuned, iterations, losses = optimise(
            sd15.unet, ends, run.context, tuned_before, row, **options_of(run, inner_steps=10)
        )
        assert_same_losses_and_stops(run, [step], iterations, losses)
        shift = np.linalg.norm(run.tuned[step] - tuned_before[0])
        assert np.linalg.norm(tuned[0, 0] - run.tuned[step]) < 1e-2 * shift


def test_tuned_embeddings_sample_the_reference_reconstruction(sd15):
    stem = "09_null_text_10_small"
    expected = load_trace(stem).arrays["reconstruction_latents_per_step"]
    assert_same_reconstruction(replayed(recorded_run(stem, None), sd15), expected)


@partial(jax.jit, static_argnames="inner_steps")
def optimise(unet, *args, **options):
    return null_text.tune(unet, *args, **options)


def replayed(run: Recorded, sd: StableDiffusion) -> jax.Array:
    """Latents [t, 1, h, w, 4] after each sampling step with the reference's embeddings."""
    null_context = jnp.asarray(run.tuned)[:, None]
    return _replay(sd.unet, run.trajectory[-1], run.context, null_context, table_of(run, sd), jnp.float32(run.guidance))


@jax.jit
def _replay(unet, latents, context, null_context, table, guidance):
    return ddim.sample(sampling.guided(unet, context, null_context, guidance), latents, table)[1]


def assert_same_reconstruction(made: jax.Array, expected: np.ndarray) -> None:
    """Latents [t, 1, h, w, 4] against the reference's [t, 4, h, w]."""
    expected = channels_last(expected)[:, None]
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-3)
    assert relative_distance(made, expected) < 5e-5


def table_of(run: Recorded, sd: StableDiffusion) -> DDIMTable:
    return ddim.ddim_table(sd.schedule, run.meta["steps"])


def options_of(run: Recorded, *, inner_steps: int) -> dict:
    return dict(
        guidance=jnp.float32(run.guidance),
        tolerance=jnp.float32(run.meta["early_stop_epsilon"]),
        inner_steps=inner_steps,
    )


def assert_same_losses_and_stops(run: Recorded, steps: Sequence[int], iterations: jax.Array, losses: jax.Array):
    """`iterations` [t, 1] and `losses` [t, i, 1] of the given steps."""
    for step, used, made in zip(steps, iterations[:, 0], losses[..., 0], strict=True):
        expected = run.meta["losses"][step]
        assert used == run.meta["inner_iterations_used"][step], f"step {step}"
        np.testing.assert_allclose(made[: len(expected)], expected, rtol=1e-4, err_msg=f"step {step}")
        assert jnp.isnan(made[len(expected) :]).all()


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
    # Adam's first update is the learning rate itself: moments begin anew at every step, the embedding goes on.
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
