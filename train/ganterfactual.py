"""`python -m train.ganterfactual`: the same as `prism train ganterfactual`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("train", "ganterfactual")
