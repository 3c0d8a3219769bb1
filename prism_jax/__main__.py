"""`python -m prism_jax`: the command `prism`, where it is not on the path."""

from prism_jax.cli.main import main

if __name__ == "__main__":
    main()
