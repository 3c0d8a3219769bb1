"""Image mechanism of the phantom at 128x128, the size of the shipped model, with an exogenous prior.

Program: prism train image_mechanism
Needs: prism data build phantom --out data/phantom --train 20000 --val 512 --test 512
Takes: not measured
"""

from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.scm.elbo import NegativeELBO
from prism_jax.training.examples import Data
from prism_jax.training.image_mechanism.run import ImageMechanismRun
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> ImageMechanismRun:
    return ImageMechanismRun(
        run="runs/phantom128_scm",
        data=Data(folder="data/phantom", size=128),
        model=HVAEConfig(
            encoder="128b1d2,64b2d2,32b3d2,16b3d2,8b2d2,4b1d4,1b1",
            decoder="1b1,4b2,8b3,16b4,32b4,64b2,128b1",
            widths=(16, 32, 48, 64, 96, 128, 160),
            parents=7,
            parents_max_res=32,
            z_max_res=64,
        ),
        objective=NegativeELBO(beta=5.0),
        optimizer=OptimizerConfig(peak=1e-3, decay="constant", b1=0.9, b2=0.9, clip=350.0, weight_decay=0.05),
        loop=LoopConfig(steps=60000, log_every=50, checkpoint_every=1000),
    )
