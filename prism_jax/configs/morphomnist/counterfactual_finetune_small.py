"""Counterfactual training of the smaller image mechanism of Morpho-MNIST.

Program: prism train counterfactual_finetune
Needs: Morpho-MNIST, given as --data.folder DIR
    prism train image_mechanism --config morphomnist/image_mechanism_small --data.folder DIR
    prism train mechanisms --config morphomnist/mechanisms --morphomnist DIR
    prism train predictors --config morphomnist/predictors --data.folder DIR
Takes: 10 minutes on one CPU core; on a GPU not measured

Half the digits an update and a fifth of the updates of the published values, which morphomnist/counterfactual_finetune
has.
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
