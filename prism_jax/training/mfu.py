"""How much arithmetic a training step is, and how fast devices could do it if they did nothing else."""

import jax
from jax.sharding import Mesh

from prism_jax import flops
from prism_jax.models.unet import UNetConfig
from prism_jax.stable_diffusion import StableDiffusion


def peak_steps_per_second(sd: StableDiffusion, size: int, batch_size: int, mesh: Mesh) -> float | None:
    """Training steps per second at the matrix peak of all devices; None on CPUs, whose peak says little."""
    if jax.default_backend() == "cpu":
        return None
    operations = batch_size * flops_per_image(sd.unet.config, sd.latent_shape(size, size)[0])
    return flops.matrix_peak(sd.unet.config.dtype) * mesh.size / operations


def flops_per_image(config: UNetConfig, side: int) -> float:
    """Of the UNet, forward and backward: three times the forward pass, whatever is recomputed."""
    return 3 * flops.unet_forward(config, side)
