"""`python -m train.tokenizer --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.training.finetune.tokenizer import TokenizerRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, TokenizerRun))
