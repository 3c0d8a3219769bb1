"""`python -m train.encode_latents`: the same as `prism train encode_latents`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("train", "encode_latents")
