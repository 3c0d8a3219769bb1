"""`python -m eval.axioms`: the same as `prism eval axioms`."""

import sys

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    sys.exit(main("eval", "axioms"))
