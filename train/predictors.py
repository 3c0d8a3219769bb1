"""`python -m train.predictors`: the same as `prism train predictors`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("train", "predictors")
