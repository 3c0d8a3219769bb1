"""`python -m train.tokenizer`: the same as `prism train tokenizer`."""

import sys

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    sys.exit(main("train", "tokenizer"))
