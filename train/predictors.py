"""`python -m train.predictors --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.training.predictors.run import PredictorsRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, PredictorsRun))
