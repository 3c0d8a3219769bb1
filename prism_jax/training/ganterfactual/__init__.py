"""Training of GANterfactual, a CycleGAN with a classifier in its loss."""
