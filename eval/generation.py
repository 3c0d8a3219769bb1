"""`python -m eval.generation`: the same as `prism eval generation`."""

import sys

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    sys.exit(main("eval", "generation"))
