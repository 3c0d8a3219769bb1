"""`python -m eval.benchmark --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.evaluation.benchmark.run import BenchmarkRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, BenchmarkRun))
