"""Classifier of tubes, view, sex and age on the COVID-19 image data collection, a small data set.

Program: prism train classifier
Needs: the COVID-19 image data collection (or a folder in its layout), DIR in the next command
    prism data build folder --source DIR --out data/covid --path 'images/{id}.jpg' --patient-column patient_id \\
        --patient-pattern '\\d+' --flags 'intubated=endotracheal tube'
Takes: not measured
"""

from prism_jax.training.classifier.augment import Augmentation
from prism_jax.training.classifier.run import ClassifierRun, ClassifierValidation
from prism_jax.training.examples import Data
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> ClassifierRun:
    return ClassifierRun(
        run="runs/covid_classifier",
        data=Data(folder="data/covid", size=128),
        batch_size=16,
        augmentation=Augmentation(shift=0.06, rotation=8.0, contrast=0.25, brightness=0.15),
        optimizer=OptimizerConfig(peak=2e-3, warmup=50, decay="cosine", final=0.01, weight_decay=0.05),
        loop=LoopConfig(steps=800, log_every=50, checkpoint_every=50),
        validation=ClassifierValidation(every=50),
    )
