"""`python -m train.mechanisms`: the same as `prism train mechanisms`."""

import sys

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    sys.exit(main("train", "mechanisms"))
