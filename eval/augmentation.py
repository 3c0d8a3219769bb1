"""`python -m eval.augmentation`: the same as `prism eval augmentation`."""

import sys

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    sys.exit(main("eval", "augmentation"))
