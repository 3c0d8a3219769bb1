"""`python -m eval.audit --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.evaluation.audit.run import AuditRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, AuditRun))
