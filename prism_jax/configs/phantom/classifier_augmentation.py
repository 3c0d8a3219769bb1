"""The classifiers of phantom/augmentation: a small ConvNeXt that learns cardiomegaly alone.

Program: prism train classifier
Needs: nothing: prism eval augmentation runs it, with its own folders, seeds and added images
Takes: not measured
"""

from prism_jax.models.convnext import ConvNeXtConfig
from prism_jax.training.classifier.augment import Augmentation
from prism_jax.training.classifier.run import ClassifierRun, ClassifierValidation
from prism_jax.training.examples import Data, ExtraDataset
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> ClassifierRun:
    return ClassifierRun(
        run="runs/phantom_augmentation_classifier",
        network=ConvNeXtConfig.small(),
        targets=("cardiomegaly",),
        age=False,
        data=Data(folder="data/augmentation_strong", size=64, extra=(ExtraDataset(folder="data/augmentation_strong"),)),
        size=64,
        augmentation=Augmentation(rotation=3.0),
        optimizer=OptimizerConfig(peak=4e-3, warmup=50, decay="cosine", final=0.01, weight_decay=0.05),
        loop=LoopConfig(steps=600, log_every=50, checkpoint_every=150, tensorboard=False),
        validation=ClassifierValidation(every=150, test_split=None),
    )
