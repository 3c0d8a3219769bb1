"""Configurations for Morpho-MNIST."""
