"""GANterfactual of one attribute of the phantom at 64x64: adds and removes cardiomegaly.

Program: prism train ganterfactual
Needs: prism data build phantom --out data/phantom_64 --size 64 --train 20000 --val 512 --test 512
    prism data build phantom --out data/phantom_balanced --preset balanced --train 6000 --val 512 --test 512
    prism train classifier --config phantom/classifier --seed 2 --run runs/phantom_classifier_in_loss
Takes: 3 hours on one CPU core, a second a step; on a GPU not measured

Another attribute: --model.attribute effusion --run runs/phantom64_ganterfactual_effusion. The classifier in the loss is
neither of the shipped judges: a classifier that took part in training must not evaluate it, and the benchmark refuses
it. A quarter of the published width and four of six blocks, for a CPU; CycleGANConfig.published(size=64) has all.
"""

from prism_jax.training.examples import Data
from prism_jax.training.ganterfactual.run import GANterfactualRun
from prism_jax.training.loop import LoopConfig


def config() -> GANterfactualRun:
    return GANterfactualRun(
        run="runs/phantom64_ganterfactual",
        classifier="runs/phantom_classifier_in_loss/model",
        data=Data(folder="data/phantom_64", size=64),
        batch_size=4,
        loop=LoopConfig(steps=10000, log_every=50, checkpoint_every=500),
    )
