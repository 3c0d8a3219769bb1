"""`python -m train.vae --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.training.vae.run import VAERun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, VAERun))
