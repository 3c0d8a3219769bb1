"""`python -m train.image_mechanism`: the same as `prism train image_mechanism`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("train", "image_mechanism")
