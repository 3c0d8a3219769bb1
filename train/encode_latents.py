"""`python -m train.encode_latents`: the same as `prism train encode_latents`."""

import sys

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    sys.exit(main("train", "encode_latents"))
