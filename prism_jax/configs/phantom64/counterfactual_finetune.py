"""Counterfactual training on the phantom at 64x64, with soft targets: those that do not amplify attributes.

prism data build phantom --out data/phantom_64 --size 64 --train 20000 --val 512 --test 512
python -m train.mechanisms --config configs/phantom/mechanisms.py
python -m train.image_mechanism --config configs/phantom64/image_mechanism_parents.py
python -m train.image_mechanism --config configs/phantom64/image_mechanism.py
python -m train.predictors --config configs/phantom64/predictors.py
python -m train.counterfactual_finetune --config configs/phantom64/counterfactual_finetune.py

Damping and the multiplier's rate are those published for chest X-rays, hard targets are --objective.targets hard.
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
