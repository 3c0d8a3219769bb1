"""`python -m train.pretrain`: the same as `prism train pretrain`."""

import sys

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    sys.exit(main("train", "pretrain"))
