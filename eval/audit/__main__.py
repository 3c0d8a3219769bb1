"""`python -m eval.audit --config configs/NAME.py [--section.option value]`."""

import sys

from eval.audit.program import AuditRun, main
from prism_jax import program

sys.exit(program.run(main, AuditRun))
