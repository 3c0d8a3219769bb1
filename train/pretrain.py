"""`python -m train.pretrain --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.training.finetune.pretrain import PretrainRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, PretrainRun))
