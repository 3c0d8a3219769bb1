"""`python -m train.classifier --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.training.classifier.run import ClassifierRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, ClassifierRun))
