"""The attribute mechanisms of Morpho-MNIST: its training table has all 60,000 rows even where images are missing.

python -m train.mechanisms --config configs/morphomnist/mechanisms.py --morphomnist FOLDER
"""

from prism_jax.scm import graphs
from prism_jax.training.mechanisms.run import MechanismsRun


def config() -> MechanismsRun:
    return MechanismsRun(run="runs/morphomnist_mechanisms", graph=graphs.morphomnist(), morphomnist="data/morphomnist")
