"""`python -m train.ganterfactual`: the same as `prism train ganterfactual`."""

import sys

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    sys.exit(main("train", "ganterfactual"))
