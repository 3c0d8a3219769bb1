"""DDIM: steps of diffusers and of NullInversion."""

import jax.numpy as jnp
import pytest

from prism_jax.diffusion import ddim
from prism_jax.diffusion import schedule as schedule_lib
from tests.jit.test_ddim import assert_equals, make, row_at
from tests.reference.conftest import load_trace

CASES = [(10, 901), (10, 401), (10, 1), (20, 951), (20, 451), (20, 1), (50, 981), (50, 481), (50, 1)]


def nhwc(array):
    return jnp.asarray(array.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(("steps", "t"), CASES)
def test_a_step_in_either_direction_agrees_with_the_reference(steps, t):
    arrays = load_trace("05_schedulers").arrays
    latents, eps, name = nhwc(arrays["x"]), nhwc(arrays["model_output"]), f"ddim{steps}_t{t}"
    row = row_at(ddim.ddim_table(make(), steps), t)
    to_one = row_at(ddim.ddim_table(make(set_alpha_to_one=True), steps), t)
    clean = schedule_lib.to_clean(eps, latents, row.alpha, "epsilon")
    assert_equals(clean, nhwc(arrays[f"{name}_x0"]))
    assert_equals(ddim.prev_step(latents, eps, row), nhwc(arrays[f"{name}_prev"]))
    assert_equals(ddim.prev_step(latents, eps, to_one), nhwc(arrays[f"{name}_prev_alpha_to_one"]))
    assert_equals(ddim.prev_step(latents, eps, row), nhwc(arrays[f"{name}_nullinv_prev_step"]))
    assert_equals(ddim.next_step(latents, eps, row), nhwc(arrays[f"{name}_nullinv_next_step"]))


@pytest.mark.parametrize(("steps", "t"), [(10, 401), (20, 451), (50, 481)])
def test_a_stochastic_step_agrees_with_the_reference(steps, t):
    arrays = load_trace("05_schedulers").arrays
    latents, eps, noise = (nhwc(arrays[name]) for name in ("x", "model_output", "eta_noise"))
    row = row_at(ddim.ddim_table(make(), steps), t)
    stepped = ddim.stochastic_step(latents, eps, row, eta=0.7, noise=noise)
    assert_equals(stepped, nhwc(arrays[f"ddim{steps}_t{t}_prev_eta0.7"]))
