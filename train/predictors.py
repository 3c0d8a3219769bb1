"""`python -m train.predictors`: the same as `prism train predictors`."""

import sys

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    sys.exit(main("train", "predictors"))
