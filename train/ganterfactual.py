"""`python -m train.ganterfactual --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.training.ganterfactual.run import GANterfactualRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, GANterfactualRun))
