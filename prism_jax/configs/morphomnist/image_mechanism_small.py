"""A smaller image mechanism of Morpho-MNIST: a third of the blocks, half the width.

Program: prism train image_mechanism
Needs: Morpho-MNIST, given as --data.folder DIR
    prism train image_mechanism --config morphomnist/image_mechanism_small_parents --data.folder DIR
Takes: 30 minutes on one CPU core; on a GPU not measured

Otherwise as morphomnist/image_mechanism, but with an exogenous prior and, as in the phantom's model, maps of the
parents, which are learned first, without latents. morphomnist/counterfactual_finetune_small starts from it.
"""

import dataclasses

from prism_jax.configs.morphomnist import image_mechanism
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.scm.elbo import NegativeELBO
from prism_jax.training.image_mechanism.run import ImageMechanismRun
from prism_jax.training.loop import LoopConfig


def config() -> ImageMechanismRun:
    return dataclasses.replace(
        image_mechanism.config(),
        run="runs/morphomnist_small_scm",
        initial="runs/morphomnist_small_parents/model",
        model=HVAEConfig(
            encoder="32b1d2,16b1d2,8b1d2,4b1d4,1b1",
            decoder="1b1,4b2,8b2,16b2,32b1",
            widths=(8, 16, 32, 64, 128),
            parents_max_res=32,
            bottleneck=2,
        ),
        objective=NegativeELBO(beta=1.0),
        batch_size=16,
        loop=LoopConfig(steps=2000, log_every=50, checkpoint_every=1000),
    )
