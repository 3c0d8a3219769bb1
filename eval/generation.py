"""`python -m eval.generation --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.evaluation.generation.run import GenerationRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, GenerationRun))
