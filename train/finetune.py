"""`python -m train.finetune --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.training.finetune.run import FinetuneRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, FinetuneRun))
