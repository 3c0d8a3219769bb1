"""A small DenseNet that predicts findings, sex, view and age of phantoms.

Program: prism train classifier
Needs: prism data build phantom --out data/phantom_balanced --preset balanced --train 6000 --val 512 --test 512
Takes: minutes on two CPU cores; on a GPU not measured
"""

from prism_jax.training.classifier.augment import Augmentation
from prism_jax.training.classifier.run import ClassifierRun, ClassifierValidation
from prism_jax.training.examples import Data
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> ClassifierRun:
    return ClassifierRun(
        run="runs/phantom_classifier",
        data=Data(folder="data/phantom_balanced", size=128),
        size=96,
        augmentation=Augmentation(rotation=3.0),
        optimizer=OptimizerConfig(peak=4e-3, warmup=50, decay="cosine", final=0.01, weight_decay=0.02),
        loop=LoopConfig(steps=1200, log_every=50, checkpoint_every=100),
        validation=ClassifierValidation(every=100),
    )
