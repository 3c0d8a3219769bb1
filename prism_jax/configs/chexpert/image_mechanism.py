"""The image mechanism of CheXpert at 192x192: graph, network and values as for MIMIC-CXR (configs/mimic_cxr/image_mechanism.py).

prism data build chexpert --source CheXpert-v1.0 --out data/chexpert --demographics demographics.csv
python -m train.image_mechanism --config configs/chexpert/image_mechanism.py
"""

import dataclasses
from pathlib import Path

from prism_jax import config as configs
from prism_jax.training.examples import Data
from prism_jax.training.image_mechanism.run import ImageMechanismRun


def config() -> ImageMechanismRun:
    mimic = configs.load(Path(__file__).parents[1] / "mimic_cxr" / "image_mechanism.py")
    return dataclasses.replace(mimic, run="runs/chexpert_scm", data=Data(folder="data/chexpert", size=192))
