"""`python -m train.image_mechanism --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.training.image_mechanism.run import ImageMechanismRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, ImageMechanismRun))
