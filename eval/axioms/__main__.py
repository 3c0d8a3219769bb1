"""`python -m eval.axioms --config configs/NAME.py [--section.option value]`."""

import sys

from eval.axioms.program import AxiomsRun, main
from prism_jax import program

sys.exit(program.run(main, AxiomsRun))
