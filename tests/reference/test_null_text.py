"""Null-text inversion: losses, early stops and embeddings of the authors' code."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.diffusion import ddim, sampling
from prism_jax.diffusion.ddim import DDIMTable
from prism_jax.editing import null_text
from prism_jax.stable_diffusion import StableDiffusion
from tests.conftest import channels_last, relative_distance
from tests.reference.conftest import load_trace


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


@pytest.mark.nightly
def test_losses_and_embeddings_agree_with_the_reference(sd15):
    run = recorded_run("09_null_text_10_small", None)
    tuned, iterations, losses = optimise(
        sd15.unet, run.trajectory, run.context, run.null, table_of(run, sd15), **options_of(run, inner_steps=5)
    )
    assert_same_losses_and_stops(run, range(len(run.tuned)), iterations, losses)
    shift = np.linalg.norm(run.tuned - np.asarray(run.null))
    assert np.linalg.norm(tuned[:, 0] - run.tuned) < 1e-2 * shift


@pytest.mark.nightly
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
