"""`python -m eval.augmentation --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.evaluation.augmentation.run import AugmentationRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, AugmentationRun))
