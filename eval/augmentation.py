"""`python -m eval.augmentation`: the same as `prism eval augmentation`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("eval", "augmentation")
