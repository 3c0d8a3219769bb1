"""`python -m eval.generation`: the same as `prism eval generation`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("eval", "generation")
