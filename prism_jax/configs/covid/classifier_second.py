"""Second classifier for covid/audit: the same targets, another architecture and another seed.

Program: prism train classifier
Needs: the COVID-19 image data collection (or a folder in its layout), DIR in the next command
    prism data build folder --source DIR --out data/covid --path 'images/{id}.jpg' --patient-column patient_id \\
        --patient-pattern '\\d+' --flags 'intubated=endotracheal tube'
Takes: not measured
"""

import dataclasses

from prism_jax.configs.covid import classifier
from prism_jax.models.convnext import ConvNeXtConfig
from prism_jax.training.classifier.run import ClassifierRun


def config() -> ClassifierRun:
    first = classifier.config()
    return dataclasses.replace(first, run="runs/covid_classifier_second", seed=1, network=ConvNeXtConfig.small())
