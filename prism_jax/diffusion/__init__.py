"""Diffusion without networks: schedules, samplers, guidance and the training loss as pure functions."""
