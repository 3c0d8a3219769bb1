"""`python -m train.tokenizer`: the same as `prism train tokenizer`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("train", "tokenizer")
