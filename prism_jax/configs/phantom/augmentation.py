"""Counterfactuals as training data: cardiomegaly learned with a pacemaker, tested without one.

Program: prism eval augmentation
Needs: prism train finetune --config demo/finetune
    prism export --run runs/demo/finetune --out runs/demo/model
    prism data build phantom --out data/augmentation_strong --preset strong --train 2000 --val 512 --test 2000
    prism data build phantom --out data/augmentation_reversed --preset reversed --train 0 --val 0 --test 2000
Takes: not measured

The generator is the demo's, trained on the same 2000 confounded phantoms.
"""

from prism_jax.configs.phantom.audit import INVERSION
from prism_jax.configs.phantom.counterfactuals import edits
from prism_jax.evaluation.augmentation.run import AugmentationRun
from prism_jax.evaluation.augmentation.test_sets import StudyTestSet
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun

EDITS = ("remove pacemaker", "add pacemaker", "remove cardiomegaly", "add cardiomegaly")


def config() -> AugmentationRun:
    return AugmentationRun(
        run="runs/augmentation",
        title="Cardiomegaly without the pacemaker: classifiers with and without counterfactuals",
        cohort=CounterfactualRun(
            title="Counterfactuals for training",
            model="runs/demo/model",
            data="data/augmentation_strong",
            split="train",
            edits=edits(EDITS),
            subjects_per_edit=175,
            batch_size=16,
            inversion=INVERSION,
        ),
        judge="phantom_judges/densenet",
        tests=(
            StudyTestSet(name="the same confounding", folder="data/augmentation_strong"),
            StudyTestSet(name="reversed confounding", folder="data/augmentation_reversed", gain_at_least=0.05),
        ),
    )
