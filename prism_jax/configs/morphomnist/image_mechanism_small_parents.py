"""First stage of morphomnist/image_mechanism_small: the effect of the parents, without latents.

Program: prism train image_mechanism
Needs: Morpho-MNIST, given as --data.folder DIR
Takes: not measured
"""

import dataclasses

from prism_jax.configs.morphomnist import image_mechanism_small
from prism_jax.scm.elbo import NegativeELBO
from prism_jax.training.image_mechanism.run import ImageMechanismRun
from prism_jax.training.image_mechanism.validation import ImageMechanismValidation
from prism_jax.training.loop import LoopConfig


def config() -> ImageMechanismRun:
    return dataclasses.replace(
        image_mechanism_small.config(),
        run="runs/morphomnist_small_parents",
        initial=None,
        objective=NegativeELBO(parents_only=True),
        loop=LoopConfig(steps=1000, log_every=50, checkpoint_every=500),
        validation=ImageMechanismValidation(every=0),
    )
