"""Predictors of all attributes of the phantom at 64x64: ResNet-18 with group norm, a quarter of its width.

Program: prism train predictors
Needs: prism data build phantom --out data/phantom_64 --size 64 --train 20000 --val 512 --test 512
Takes: not measured

For counterfactual training. Evaluate its result with others: --seed 8 --run runs/phantom64_predictors_second.
"""

from prism_jax.training.examples import Data
from prism_jax.training.loop import LoopConfig
from prism_jax.training.predictors.run import PredictorsRun
from prism_jax.training.predictors.validation import PredictorsValidation


def config() -> PredictorsRun:
    return PredictorsRun(
        run="runs/phantom64_predictors",
        data=Data(folder="data/phantom_64", size=64),
        loop=LoopConfig(steps=5000, log_every=50, checkpoint_every=250),
        validation=PredictorsValidation(every=250),
    )
