"""A second judge of real X-rays, of another family and with another seed, for configs/covid_audit.py.

After the first command in configs/covid_autoencoder.py:
python -m train.classifier --config configs/covid_classifier_second.py
"""

import dataclasses

from configs import covid_classifier
from prism_jax.models.convnext import ConvNeXtConfig
from train.classifier import ClassifierRun


def config() -> ClassifierRun:
    first = covid_classifier.config()
    return dataclasses.replace(first, run="runs/covid_classifier_second", seed=1, network=ConvNeXtConfig.small())
