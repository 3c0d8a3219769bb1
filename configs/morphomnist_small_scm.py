"""A smaller image mechanism of Morpho-MNIST that a CPU trains in half an hour: a third of the blocks, half the width.

python -m train.scm --config configs/morphomnist_small_parents.py --data.folder FOLDER
python -m train.scm --config configs/morphomnist_small_scm.py --data.folder FOLDER

Otherwise as configs/morphomnist_scm.py, but for an exogenous prior, and for what the phantom's model has too: maps of
parents, which are learned first, without latents. configs/morphomnist_small_counterfactual.py goes on from here.
"""

import dataclasses

from configs import morphomnist_scm
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.scm.elbo import FreeEnergy
from train.loop import LoopConfig
from train.scm import SCMRun
from train.scm_watching import Validation


def config() -> SCMRun:
    return dataclasses.replace(
        morphomnist_scm.config(),
        run="runs/morphomnist_small_scm",
        initial="runs/morphomnist_small_parents/model",
        model=HVAEConfig(
            encoder="32b1d2,16b1d2,8b1d2,4b1d4,1b1",
            decoder="1b1,4b2,8b2,16b2,32b1",
            widths=(8, 16, 32, 64, 128),
            parents=12,
            parents_max_res=32,
            bottleneck=2,
        ),
        objective=FreeEnergy(beta=1.0),
        batch_size=16,
        loop=LoopConfig(steps=2000, log_every=50, checkpoint_every=1000),
        validation=Validation(every=1000),
    )
