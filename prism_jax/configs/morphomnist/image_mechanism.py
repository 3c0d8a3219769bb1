"""Image mechanism of Morpho-MNIST with the published values (De Sousa Ribeiro et al., ICML 2023).

Program: prism train image_mechanism
Needs: Morpho-MNIST, given as --data.folder DIR
Takes: not measured

Its latents mediate. Without the 60,000 training images the 10,000 test images are split, 8000 of them for training; the
run reports it. The published baseline validates on its test images; here validation is taken out of training.
"""

from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.scm import graphs
from prism_jax.scm.elbo import NegativeELBO
from prism_jax.scm.observed import Digits
from prism_jax.training.image_mechanism.run import ImageMechanismRun
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> ImageMechanismRun:
    return ImageMechanismRun(
        run="runs/morphomnist_scm",
        graph=graphs.morphomnist(),
        data=Digits(folder="data/morphomnist", size=32),
        model=HVAEConfig(conditional_prior=True),
        objective=NegativeELBO(beta=1.0, dropped_from=2),  # the digit
        shift=2,
        optimizer=OptimizerConfig(peak=1e-3, decay="constant", b1=0.9, b2=0.9, clip=350.0, weight_decay=0.01),
        loop=LoopConfig(steps=100_000, log_every=50, checkpoint_every=1000),
    )
