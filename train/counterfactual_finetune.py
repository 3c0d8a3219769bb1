"""`python -m train.counterfactual_finetune`: the same as `prism train counterfactual_finetune`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("train", "counterfactual_finetune")
