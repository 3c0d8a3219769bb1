"""Loading of built data sets: sampler, Grain pipeline, mixtures, latent cache."""
