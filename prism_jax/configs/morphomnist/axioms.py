"""Composition, reversibility and effectiveness of the Morpho-MNIST model on its test digits, three seeds.

Program: prism eval axioms
Needs: Morpho-MNIST, given as --data.folder DIR
    prism train mechanisms --config morphomnist/mechanisms --morphomnist DIR
    prism train predictors --config morphomnist/predictors --data.folder DIR
    prism train image_mechanism --config morphomnist/image_mechanism --data.folder DIR --seed 7 --run \\
        runs/morphomnist_scm_7
    the same with seeds 8 and 9, in runs/morphomnist_scm_8 and runs/morphomnist_scm_9
Takes: not measured

The image mechanisms were not trained with these predictors. Thickness and intensity are also measured on the pixels.
"""

from prism_jax.evaluation.axioms.run import AxiomsRun
from prism_jax.scm.observed import Digits


def config() -> AxiomsRun:
    return AxiomsRun(
        run="runs/morphomnist_axioms",
        title="Counterfactual digits",
        data=Digits(folder="data/morphomnist", split="test"),
        images=tuple(f"runs/morphomnist_scm_{seed}/model" for seed in (7, 8, 9)),
        mechanisms="runs/morphomnist_mechanisms/model",
        predictors="runs/morphomnist_predictors/model",
        composition_limit=200,
    )
