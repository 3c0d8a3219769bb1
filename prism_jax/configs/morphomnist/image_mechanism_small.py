"""A smaller image mechanism of Morpho-MNIST that a CPU trains in half an hour: a third of the blocks, half the width.

python -m train.image_mechanism --config configs/morphomnist/image_mechanism_small_parents.py --data.folder FOLDER
python -m train.image_mechanism --config configs/morphomnist/image_mechanism_small.py --data.folder FOLDER

Otherwise as configs/morphomnist/image_mechanism.py, but for an exogenous prior, and for what the phantom's model has too: maps of
parents, which are learned first, without latents. configs/morphomnist/counterfactual_finetune_small.py goes on from here.
"""

import dataclasses

from prism_jax.configs.morphomnist import image_mechanism
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.scm.elbo import NegativeELBO
from prism_jax.training.image_mechanism.run import ImageMechanismRun
from prism_jax.training.image_mechanism.validation import ImageMechanismValidation
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
            parents=12,
            parents_max_res=32,
            bottleneck=2,
        ),
        objective=NegativeELBO(beta=1.0),
        batch_size=16,
        loop=LoopConfig(steps=2000, log_every=50, checkpoint_every=1000),
        validation=ImageMechanismValidation(every=1000),
    )
