"""`python -m eval.comparison`."""

import sys

from eval.comparison.program import ComparisonRun, main
from prism_jax import program

if __name__ == "__main__":
    sys.exit(program.run(main, ComparisonRun))
