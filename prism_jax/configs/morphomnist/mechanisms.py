"""Attribute mechanisms of Morpho-MNIST.

Program: prism train mechanisms
Needs: Morpho-MNIST, given as --morphomnist DIR
Takes: not measured

Its training table has all 60,000 rows even where images are missing.
"""

from prism_jax.scm import graphs
from prism_jax.training.mechanisms.run import MechanismsRun


def config() -> MechanismsRun:
    return MechanismsRun(run="runs/morphomnist_mechanisms", graph=graphs.morphomnist(), morphomnist="data/morphomnist")
