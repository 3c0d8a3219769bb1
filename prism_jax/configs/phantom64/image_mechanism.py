"""The image mechanism of the phantom at 64x64: small enough for a CPU, with the paper's exogenous prior.

prism data build phantom --out data/phantom_64 --size 64 --train 20000 --val 512 --test 512
python -m train.image_mechanism --config configs/phantom64/image_mechanism_parents.py
python -m train.image_mechanism --config configs/phantom64/image_mechanism.py

What parents say is learned first, without latents, which then add what is left. With latents open from the start they
hold the findings, and setting these does nothing. configs/phantom64/counterfactual_finetune.py goes on from here (docs/results/scm.md).
"""

from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.scm import graphs
from prism_jax.scm.elbo import NegativeELBO
from prism_jax.training.examples import Data
from prism_jax.training.image_mechanism.run import ImageMechanismRun
from prism_jax.training.image_mechanism.validation import ImageMechanismValidation
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> ImageMechanismRun:
    return ImageMechanismRun(
        run="runs/phantom64_scm",
        graph=graphs.phantom(),
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
