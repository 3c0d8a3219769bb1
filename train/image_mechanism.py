"""`python -m train.image_mechanism`: the same as `prism train image_mechanism`."""

import sys

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    sys.exit(main("train", "image_mechanism"))
