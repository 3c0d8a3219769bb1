"""`python -m train.counterfactual_finetune --config NAME`."""

import sys

from prism_jax import entrypoint
from prism_jax.training.image_mechanism.counterfactual_run import CounterfactualFinetuneRun, main

if __name__ == "__main__":
    sys.exit(entrypoint.run(main, CounterfactualFinetuneRun))
