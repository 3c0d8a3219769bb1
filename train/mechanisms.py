"""`python -m train.mechanisms`: the same as `prism train mechanisms`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("train", "mechanisms")
