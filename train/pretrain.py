"""`python -m train.pretrain`: the same as `prism train pretrain`."""

from prism_jax.cli.run_program import main

if __name__ == "__main__":
    main("train", "pretrain")
