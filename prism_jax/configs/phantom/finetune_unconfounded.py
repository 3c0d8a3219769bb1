"""As configs/phantom/finetune_confounded.py, with the same budget, where no attribute has to do with another.

prism data build phantom --out data/phantom_none --preset none --train 4000 --val 64 --test 512
python -m train.encode_latents --config configs/phantom/finetune_unconfounded.py
python -m train.finetune --config configs/phantom/finetune_unconfounded.py
prism export --run runs/phantom_unconfounded --out runs/phantom_unconfounded/model
"""

from prism_jax.configs.phantom.finetune_confounded import trained_on
from prism_jax.training.finetune.run import FinetuneRun


def config() -> FinetuneRun:
    return trained_on("phantom_none", run="phantom_unconfounded")
