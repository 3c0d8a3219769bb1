"""`python -m train.encode_latents --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.training.finetune.encode_latents import FinetuneRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, FinetuneRun))
