"""Composition, reversibility and effectiveness of the Morpho-MNIST model on its test digits, over three seeds.

python -m train.mechanisms --config configs/morphomnist/mechanisms.py --morphomnist FOLDER
python -m train.predictors --config configs/morphomnist/predictors.py --data.folder FOLDER
python -m train.image_mechanism --config configs/morphomnist/image_mechanism.py --data.folder FOLDER --seed 7 --run runs/morphomnist_scm_7
... and with --seed 8 --run runs/morphomnist_scm_8, and 9
python -m eval.axioms --config configs/morphomnist/axioms.py --data.folder FOLDER

The image mechanisms never saw these predictors. Thickness and intensity are measured on the pixels too.
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
        cycled=200,
    )
