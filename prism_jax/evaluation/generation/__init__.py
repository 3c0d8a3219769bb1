"""Quality of images sampled from captions, compared with real images."""
