"""Training of networks that predict attributes from images."""
