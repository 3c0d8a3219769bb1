"""Image mechanism of CheXpert at 192x192: graph, network and values as for MIMIC-CXR.

Program: prism train image_mechanism
Needs: prism data build chexpert --source CheXpert-v1.0 --out data/chexpert --demographics demographics.csv
Takes: not measured
"""

import dataclasses

from prism_jax.configs.mimic_cxr import image_mechanism
from prism_jax.training.examples import Data
from prism_jax.training.image_mechanism.run import ImageMechanismRun


def config() -> ImageMechanismRun:
    mimic = image_mechanism.config()
    return dataclasses.replace(mimic, run="runs/chexpert_scm", data=Data(folder="data/chexpert", size=192))
