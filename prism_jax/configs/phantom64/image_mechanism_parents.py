"""The first part of the phantom's image mechanism at 64x64: what parents say of an image, without latents.

prism data build phantom --out data/phantom_64 --size 64 --train 20000 --val 512 --test 512
python -m train.image_mechanism --config configs/phantom64/image_mechanism_parents.py
python -m train.image_mechanism --config configs/phantom64/image_mechanism.py  # goes on from there
"""

import dataclasses

from prism_jax.configs.phantom64 import image_mechanism
from prism_jax.scm.elbo import NegativeELBO
from prism_jax.training.image_mechanism.run import ImageMechanismRun
from prism_jax.training.image_mechanism.validation import ImageMechanismValidation
from prism_jax.training.loop import LoopConfig


def config() -> ImageMechanismRun:
    return dataclasses.replace(
        image_mechanism.config(),
        run="runs/phantom64_parents",
        initial=None,
        objective=NegativeELBO(parents_only=True),
        batch_size=16,
        loop=LoopConfig(steps=400, log_every=50, checkpoint_every=200),
        validation=ImageMechanismValidation(every=0),
    )
