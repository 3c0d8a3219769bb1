"""`python -m train.counterfactual_finetune`: the same as `prism train counterfactual_finetune`."""

import sys

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    sys.exit(main("train", "counterfactual_finetune"))
