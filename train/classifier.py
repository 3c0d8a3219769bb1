"""`python -m train.classifier`: the same as `prism train classifier`."""

import sys

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    sys.exit(main("train", "classifier"))
