"""The structural causal model: attribute mechanisms, a causal graph given as data, the image mechanism."""
