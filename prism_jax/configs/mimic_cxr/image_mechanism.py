"""Image mechanism of MIMIC-CXR at 192x192 with the published values (De Sousa Ribeiro et al., ICML 2023).

Program: prism train image_mechanism
Needs: prism data build mimic_cxr --source mimic-cxr-jpg --out data/mimic_cxr --views AP PA \\
        --patients patients.csv.gz --admissions admissions.csv.gz
Takes: not measured

Takes the images with age, sex and race (white, asian or black) and either pleural effusion alone or no finding.
Published: up to 5000 epochs, keeping the checkpoint of the best validation, as here. --model.dtype bfloat16 computes in
half precision.
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
        run="runs/mimic_scm",
        graph=graphs.mimic_cxr(),
        data=Data(folder="data/mimic_cxr", size=192),
        model=HVAEConfig(
            encoder="192b1d2,96b3d2,48b7d2,24b11d2,12b7d2,6b3d6,1b2",
            decoder="1b2,6b4,12b8,24b12,48b8,96b4,192b2",
            widths=(32, 64, 96, 128, 160, 192, 512),
            parents=6,
            z_max_res=96,
        ),
        objective=NegativeELBO(beta=9.0),
        optimizer=OptimizerConfig(peak=1e-3, decay="constant", b1=0.9, b2=0.9, clip=350.0, weight_decay=0.05),
        batch_size=24,
        loop=LoopConfig(steps=1_000_000, log_every=50, checkpoint_every=2000),
        validation=ImageMechanismValidation(every=2000),
    )
