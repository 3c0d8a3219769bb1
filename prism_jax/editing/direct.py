"""Direct inversion (Ju et al. 2023, arXiv 2310.01506): every step of the source is corrected to its inversion."""

import jax

from prism_jax.diffusion import ddim
from prism_jax.diffusion.ddim import DDIMTable, PredictNoise


def offsets(predict_noise: PredictNoise, trajectory: jax.Array, table: DDIMTable, *, eta: float = 0.0) -> jax.Array:
    """Offset from every sampling step of the source to its inversion, `[t, b, h, w, c]` in sampling order.

    `trajectory` is `[t + 1, b, h, w, c]`, clean latents first. `eta` scales the fresh noise that the step
    leaves out (see `ddim.stochastic_step`): with 1 the offsets are that noise.
    """

    def missed(_: None, scanned: tuple[DDIMTable, jax.Array, jax.Array]) -> tuple[None, jax.Array]:
        row, latents, target = scanned
        output = predict_noise(latents, row.t, row.step)
        return None, target - ddim.stochastic_step(latents, output, row, eta=eta, noise=0.0)

    noisy, targets = trajectory[:0:-1], trajectory[-2::-1]
    return jax.lax.scan(missed, None, (table, noisy, targets))[1]
