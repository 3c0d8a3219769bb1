"""`python -m train.mechanisms --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.training.mechanisms.run import MechanismsRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, MechanismsRun))
