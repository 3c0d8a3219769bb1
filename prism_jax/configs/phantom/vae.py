"""VAE of the shipped model, trained on phantoms at 128x128 with independent findings.

Program: prism train vae
Needs: prism data build phantom --out data/phantom_balanced --preset balanced --train 16000 --val 256 --test 256
Takes: 45 minutes on two shared CPU cores; on a GPU not measured
"""

from prism_jax.models.autoencoder import AutoencoderConfig
from prism_jax.training.examples import Data
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig
from prism_jax.training.vae.run import VAERun, Window


def config() -> VAERun:
    return VAERun(
        run="runs/phantom_autoencoder",
        model=AutoencoderConfig(
            block_out_channels=(16, 32, 64, 64), layers_per_block=1, norm_num_groups=8, sample_size=128
        ),
        data=Data(folder="data/phantom_balanced", size=128),
        window=Window(crop=64),
        optimizer=OptimizerConfig(peak=2e-3, warmup=200, decay="cosine", final=0.01, weight_decay=1e-4),
        loop=LoopConfig(steps=8300, log_every=50, checkpoint_every=250, keep=2),
        sample_every=2000,
    )
