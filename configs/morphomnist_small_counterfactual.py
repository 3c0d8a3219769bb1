"""Counterfactual training of the smaller image mechanism of Morpho-MNIST, in ten minutes on a CPU.

python -m train.counterfactual --config configs/morphomnist_small_counterfactual.py --data.folder FOLDER

After configs/morphomnist_small_scm.py; mechanisms and predictors as in configs/morphomnist_counterfactual.py, whose
published values are for twice as many digits an update and five times as many updates.
"""

import dataclasses

from configs import morphomnist_counterfactual
from train.counterfactual import CounterfactualRun
from train.loop import LoopConfig
from train.scm_watching import Validation


def config() -> CounterfactualRun:
    base = morphomnist_counterfactual.config()
    return dataclasses.replace(
        base,
        run="runs/morphomnist_small_counterfactual",
        image="runs/morphomnist_small_scm/model",
        objective=dataclasses.replace(base.objective, slack=0.05),
        optimizer=dataclasses.replace(base.optimizer, peak=5e-4),
        ema_decay=0.99,
        batch_size=16,
        loop=LoopConfig(steps=1000, log_every=50, checkpoint_every=500),
        validation=Validation(every=500, limit=128),
    )
