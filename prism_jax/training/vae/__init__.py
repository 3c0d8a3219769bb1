"""Training of the variational autoencoder."""
