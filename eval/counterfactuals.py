"""`python -m eval.counterfactuals`: the same as `prism eval counterfactuals`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("eval", "counterfactuals")
