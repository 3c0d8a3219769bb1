"""Model FLOPs utilisation of fine-tuning: arithmetic of a training step, and the rate at the devices' peak."""

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
    """FLOPs of the UNet, forward and backward: three times the forward pass; recomputation is not counted."""
    return 3 * flops.unet_forward(config, side)
