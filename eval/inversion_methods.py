"""`python -m eval.inversion_methods --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.evaluation.inversion_methods.run import InversionMethodsRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, InversionMethodsRun))
