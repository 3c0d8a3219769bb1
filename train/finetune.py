"""`python -m train.finetune`: the same as `prism train finetune`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("train", "finetune")
