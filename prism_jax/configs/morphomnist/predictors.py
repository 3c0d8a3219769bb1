"""Predictors of digit, thickness and intensity with the published values (De Sousa Ribeiro et al., ICML 2023).

Program: prism train predictors
Needs: Morpho-MNIST, given as --data.folder DIR
Takes: not measured

For counterfactual training. Evaluate its result with others: --seed 8 --run runs/morphomnist_predictors_second.
"""

from prism_jax.models.predictors import MorphoConfig
from prism_jax.scm import graphs
from prism_jax.scm.observed import Digits
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig
from prism_jax.training.predictors.run import PredictorsRun


def config() -> PredictorsRun:
    return PredictorsRun(
        run="runs/morphomnist_predictors",
        graph=graphs.morphomnist(),
        data=Digits(folder="data/morphomnist", size=32),
        model=MorphoConfig(size=32),
        shift=2,
        optimizer=OptimizerConfig(peak=1e-3, decay="constant", clip=200.0, weight_decay=0.1),
        loop=LoopConfig(steps=10_000, log_every=50, checkpoint_every=500),
    )
