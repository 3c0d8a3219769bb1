"""`python -m eval.axioms --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.evaluation.axioms.run import AxiomsRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, AxiomsRun))
