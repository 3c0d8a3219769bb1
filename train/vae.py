"""`python -m train.vae`: the same as `prism train vae`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("train", "vae")
