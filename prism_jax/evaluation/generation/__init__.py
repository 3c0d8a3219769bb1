"""What a model draws from captions alone, held against real images."""
