"""The first part of the smaller image mechanism of Morpho-MNIST: what parents say of a digit, without latents.

python -m train.scm --config configs/morphomnist_small_parents.py --data.folder FOLDER
python -m train.scm --config configs/morphomnist_small_scm.py --data.folder FOLDER  # goes on from there
"""

import dataclasses

from configs import morphomnist_small_scm
from prism_jax.scm.elbo import FreeEnergy
from train.loop import LoopConfig
from train.scm import SCMRun
from train.scm_watching import Validation


def config() -> SCMRun:
    return dataclasses.replace(
        morphomnist_small_scm.config(),
        run="runs/morphomnist_small_parents",
        initial=None,
        objective=FreeEnergy(parents_only=True),
        loop=LoopConfig(steps=1000, log_every=50, checkpoint_every=500),
        validation=Validation(every=0),
    )
