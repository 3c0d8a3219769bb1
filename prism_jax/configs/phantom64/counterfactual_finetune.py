"""Counterfactual training on the phantom at 64x64, with soft targets, which do not amplify attributes.

Program: prism train counterfactual_finetune
Needs: prism data build phantom --out data/phantom_64 --size 64 --train 20000 --val 512 --test 512
    prism train mechanisms --config phantom/mechanisms
    prism train image_mechanism --config phantom64/image_mechanism
    prism train predictors --config phantom64/predictors
Takes: not measured

Damping and the multiplier's rate are those published for chest X-rays; hard targets are --objective.targets hard.
"""

from prism_jax.training.examples import Data
from prism_jax.training.image_mechanism.counterfactual_run import CounterfactualFinetuneRun
from prism_jax.training.image_mechanism.counterfactual_step import CounterfactualObjective
from prism_jax.training.image_mechanism.validation import ImageMechanismValidation
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> CounterfactualFinetuneRun:
    return CounterfactualFinetuneRun(
        run="runs/phantom64_counterfactual",
        image="runs/phantom64_scm/model",
        mechanisms="runs/phantom_mechanisms/model",
        predictors="runs/phantom64_predictors/model",
        data=Data(folder="data/phantom_64", size=64),
        objective=CounterfactualObjective(targets="soft", beta=1.0, damping=10.0, slack=0.05),
        optimizer=OptimizerConfig(
            peak=5e-4, decay="constant", b1=0.9, b2=0.9, clip=350.0, weight_decay=0.05, warmup=20
        ),
        ascent=0.1,
        ema_decay=0.99,
        batch_size=8,
        loop=LoopConfig(steps=400, log_every=20, checkpoint_every=200),
        validation=ImageMechanismValidation(every=200, limit=128),
    )
