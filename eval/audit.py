"""`python -m eval.audit`: the same as `prism eval audit`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("eval", "audit")
