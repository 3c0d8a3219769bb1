"""`python -m eval.axioms`: the same as `prism eval axioms`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("eval", "axioms")
