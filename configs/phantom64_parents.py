"""The first part of the phantom's image mechanism at 64x64: what parents say of an image, without latents.

prism data build phantom --out data/phantom_64 --size 64 --train 20000 --val 512 --test 512
python -m train.scm --config configs/phantom64_parents.py
python -m train.scm --config configs/phantom64_scm.py  # goes on from there
"""

import dataclasses

from configs import phantom64_scm
from prism_jax.scm.elbo import FreeEnergy
from train.loop import LoopConfig
from train.scm import SCMRun
from train.scm_watching import Validation


def config() -> SCMRun:
    return dataclasses.replace(
        phantom64_scm.config(),
        run="runs/phantom64_parents",
        initial=None,
        objective=FreeEnergy(parents_only=True),
        batch_size=16,
        loop=LoopConfig(steps=400, log_every=50, checkpoint_every=200),
        validation=Validation(every=0),
    )
