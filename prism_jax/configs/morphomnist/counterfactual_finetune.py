"""Counterfactual training on Morpho-MNIST with the published values (De Sousa Ribeiro et al., ICML 2023).

Program: prism train counterfactual_finetune
Needs: Morpho-MNIST, given as --data.folder DIR
    prism train mechanisms --config morphomnist/mechanisms --morphomnist DIR
    prism train image_mechanism --config morphomnist/image_mechanism --data.folder DIR
    prism train predictors --config morphomnist/predictors --data.folder DIR
Takes: not measured

The published code cannot train a model whose latents mediate, as these do, in this way.
"""

from prism_jax.scm.observed import Digits
from prism_jax.training.image_mechanism.counterfactual_run import CounterfactualFinetuneRun
from prism_jax.training.image_mechanism.validation import ImageMechanismValidation
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> CounterfactualFinetuneRun:
    return CounterfactualFinetuneRun(
        run="runs/morphomnist_counterfactual",
        image="runs/morphomnist_scm/model",
        mechanisms="runs/morphomnist_mechanisms/model",
        predictors="runs/morphomnist_predictors/model",
        data=Digits(folder="data/morphomnist", size=32),
        shift=2,
        optimizer=OptimizerConfig(peak=1e-4, decay="constant", b1=0.9, b2=0.9, clip=350.0, weight_decay=0.01),
        loop=LoopConfig(steps=5000, log_every=50, checkpoint_every=500),
        validation=ImageMechanismValidation(every=500),
    )
