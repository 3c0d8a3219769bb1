"""Training of the image mechanism of a causal model, by likelihood and by counterfactuals."""
