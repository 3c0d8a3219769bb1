"""Counterfactual training on Morpho-MNIST with the published values (De Sousa Ribeiro et al., ICML 2023).

python -m train.mechanisms --config configs/morphomnist_mechanisms.py --morphomnist FOLDER
python -m train.scm --config configs/morphomnist_scm.py --data.folder FOLDER
python -m train.predictors --config configs/morphomnist_predictors.py --data.folder FOLDER
python -m train.counterfactual --config configs/morphomnist_counterfactual.py --data.folder FOLDER

The published code cannot train a model whose latents mediate, as these do, in this way.
"""

from prism_jax.scm.observed import Digits
from train.counterfactual import CounterfactualRun
from train.counterfactual_step import Objective
from train.loop import LoopConfig
from train.optimizer import OptimizerConfig
from train.scm_watching import Validation


def config() -> CounterfactualRun:
    return CounterfactualRun(
        run="runs/morphomnist_counterfactual",
        image="runs/morphomnist_scm/model",
        mechanisms="runs/morphomnist_mechanisms/model",
        predictors="runs/morphomnist_predictors/model",
        data=Digits(folder="data/morphomnist", size=32),
        objective=Objective(targets="hard", beta=1.0, damping=100.0),
        shift=2,
        optimizer=OptimizerConfig(peak=1e-4, decay="constant", b1=0.9, b2=0.9, clip=350.0, weight_decay=0.01),
        ascent=1e-2,
        batch_size=32,
        loop=LoopConfig(steps=5000, log_every=50, checkpoint_every=500),
        validation=Validation(every=500),
    )
