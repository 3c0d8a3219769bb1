"""`python -m eval.inversion_methods`: the same as `prism eval inversion_methods`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("eval", "inversion_methods")
