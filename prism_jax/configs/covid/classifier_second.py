"""A second judge of real X-rays, of another family and with another seed, for configs/covid/audit.py.

After the first command in configs/covid/vae.py:
python -m train.classifier --config configs/covid/classifier_second.py
"""

import dataclasses

from prism_jax.configs.covid import classifier
from prism_jax.models.convnext import ConvNeXtConfig
from prism_jax.training.classifier.run import ClassifierRun


def config() -> ClassifierRun:
    first = classifier.config()
    return dataclasses.replace(first, run="runs/covid_classifier_second", seed=1, network=ConvNeXtConfig.small())
