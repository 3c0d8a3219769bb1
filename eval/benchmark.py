"""`python -m eval.benchmark`: the same as `prism eval benchmark`."""

import sys

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    sys.exit(main("eval", "benchmark"))
