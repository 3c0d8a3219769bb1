"""`python -m eval.generation --config configs/NAME.py [--section.option value]`."""

import sys

from eval.generation.program import GenerationRun, main
from prism_jax import program

sys.exit(program.run(main, GenerationRun))
