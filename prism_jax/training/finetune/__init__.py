"""Fine-tuning and pretraining of Stable Diffusion."""
