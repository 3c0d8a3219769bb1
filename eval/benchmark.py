"""`python -m eval.benchmark`: the same as `prism eval benchmark`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("eval", "benchmark")
