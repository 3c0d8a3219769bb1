"""A small ConvNeXt with the targets of phantom/classifier and another seed.

Program: prism train classifier
Needs: prism data build phantom --out data/phantom_balanced --preset balanced --train 6000 --val 512 --test 512
Takes: minutes on two CPU cores; on a GPU not measured
"""

import dataclasses

from prism_jax.configs.phantom import classifier
from prism_jax.models.convnext import ConvNeXtConfig
from prism_jax.training.classifier.run import ClassifierRun


def config() -> ClassifierRun:
    first = classifier.config()
    return dataclasses.replace(
        first,
        run="runs/phantom_classifier_second",
        seed=1,
        network=ConvNeXtConfig.small(),
        optimizer=dataclasses.replace(first.optimizer, warmup=100, weight_decay=0.05),
        loop=dataclasses.replace(first.loop, steps=1400),
    )
