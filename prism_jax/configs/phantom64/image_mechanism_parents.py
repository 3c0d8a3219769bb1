"""First stage of phantom64/image_mechanism: the effect of the parents, without latents.

Program: prism train image_mechanism
Needs: prism data build phantom --out data/phantom_64 --size 64 --train 20000 --val 512 --test 512
Takes: not measured
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
