"""Image mechanism of the phantom at 64x64, small enough for a CPU, with an exogenous prior.

Program: prism train image_mechanism
Needs: prism data build phantom --out data/phantom_64 --size 64 --train 20000 --val 512 --test 512
    prism train image_mechanism --config phantom64/image_mechanism_parents
Takes: about an hour on one shared CPU core; on a GPU not measured

The effect of the parents is learned first, without latents, which then add the rest. Latents that are trained from the
start hold the findings, and setting a finding changes nothing. phantom64/counterfactual_finetune starts from this model
(docs/results/scm.md).
"""

from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.scm.elbo import NegativeELBO
from prism_jax.training.examples import Data
from prism_jax.training.image_mechanism.run import ImageMechanismRun
from prism_jax.training.image_mechanism.validation import ImageMechanismValidation
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> ImageMechanismRun:
    return ImageMechanismRun(
        run="runs/phantom64_scm",
        data=Data(folder="data/phantom_64", size=64),
        initial="runs/phantom64_parents/model",
        model=HVAEConfig(
            encoder="64b1d2,32b2d2,16b2d2,8b2d2,4b1d4,1b1",
            decoder="1b1,4b2,8b2,16b2,32b2,64b1",
            widths=(16, 32, 48, 64, 96, 128),
            parents=7,
            parents_max_res=32,
            z_max_res=32,
            bottleneck=2,
        ),
        objective=NegativeELBO(beta=1.0, warmup=1000),
        optimizer=OptimizerConfig(peak=2e-3, decay="cosine", b1=0.9, b2=0.9, clip=350.0, weight_decay=0.05),
        ema_decay=0.99,
        batch_size=4,
        loop=LoopConfig(steps=3500, log_every=50, checkpoint_every=500),
        validation=ImageMechanismValidation(every=500, limit=64),
    )
