"""Counterfactual training of the smaller image mechanism of Morpho-MNIST, in ten minutes on a CPU.

python -m train.counterfactual_finetune --config configs/morphomnist/counterfactual_finetune_small.py --data.folder FOLDER

After configs/morphomnist/image_mechanism_small.py; mechanisms and predictors as in configs/morphomnist/counterfactual_finetune.py, whose
published values are for twice as many digits an update and five times as many updates.
"""

import dataclasses

from prism_jax.configs.morphomnist import counterfactual_finetune
from prism_jax.training.image_mechanism.counterfactual_run import CounterfactualFinetuneRun
from prism_jax.training.image_mechanism.validation import ImageMechanismValidation
from prism_jax.training.loop import LoopConfig


def config() -> CounterfactualFinetuneRun:
    base = counterfactual_finetune.config()
    return dataclasses.replace(
        base,
        run="runs/morphomnist_small_counterfactual",
        image="runs/morphomnist_small_scm/model",
        objective=dataclasses.replace(base.objective, slack=0.05),
        optimizer=dataclasses.replace(base.optimizer, peak=5e-4),
        ema_decay=0.99,
        batch_size=16,
        loop=LoopConfig(steps=1000, log_every=50, checkpoint_every=500),
        validation=ImageMechanismValidation(every=500, limit=128),
    )
