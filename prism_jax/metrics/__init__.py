"""Metrics of images, classifiers and counterfactuals, with counts and intervals."""
