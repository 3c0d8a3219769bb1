"""Counterfactual chest X-rays in JAX."""

from prism_jax.stable_diffusion import StableDiffusion

__all__ = ["StableDiffusion"]
