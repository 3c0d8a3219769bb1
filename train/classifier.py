"""`python -m train.classifier`: the same as `prism train classifier`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("train", "classifier")
