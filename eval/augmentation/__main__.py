"""`python -m eval.augmentation --config configs/NAME.py [--section.option value]`."""

import sys

from eval.augmentation.program import AugmentationRun, main
from prism_jax import program

sys.exit(program.run(main, AugmentationRun))
