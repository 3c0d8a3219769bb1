"""`python -m eval.counterfactuals --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, CounterfactualRun))
