"""Unconfounded control of phantom/finetune_confounded: the same training on phantoms with independent attributes.

Program: prism train finetune
Needs: prism data build phantom --out data/phantom_none --preset none --train 4000 --val 64 --test 512
    prism train encode_latents --config phantom/finetune_unconfounded
Takes: not measured
"""

from prism_jax.configs.phantom.finetune_confounded import trained_on
from prism_jax.training.finetune.run import FinetuneRun


def config() -> FinetuneRun:
    return trained_on("phantom_none", run="phantom_unconfounded")
