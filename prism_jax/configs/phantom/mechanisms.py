"""Attribute mechanisms of the phantom, fitted without knowing its equations and compared with them.

Program: prism train mechanisms
Needs: prism data build phantom --out data/phantom_64 --size 64 --train 20000 --val 512 --test 512
Takes: not measured
"""

from prism_jax.scm import graphs
from prism_jax.training.examples import Data
from prism_jax.training.mechanisms.run import MechanismsRun


def config() -> MechanismsRun:
    return MechanismsRun(
        run="runs/phantom_mechanisms", graph=graphs.phantom(), data=Data(folder="data/phantom_64"), truth="default"
    )
