"""The shipped VAE fine-tuned on real X-rays of the COVID-19 image data collection.

Program: prism train vae
Needs: the COVID-19 image data collection (or a folder in its layout), DIR in the next command
    prism data build folder --source DIR --out data/covid --path 'images/{id}.jpg' --patient-column patient_id \\
        --patient-pattern '\\d+' --flags 'intubated=endotracheal tube'
Takes: not measured
"""

from prism_jax.training.examples import Data
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig
from prism_jax.training.vae.run import VAERun, VAEValidation, Window


def config() -> VAERun:
    return VAERun(
        run="runs/covid_autoencoder",
        start="phantom/vae",
        data=Data(folder="data/covid", size=128),
        validation=VAEValidation(every=250),
        window=Window(crop=64, contrast=0.1),
        optimizer=OptimizerConfig(peak=1e-3, warmup=100, decay="cosine", final=0.01, weight_decay=1e-4),
        loop=LoopConfig(steps=1500, log_every=50, checkpoint_every=250),
        ema_decay=0.995,
        sample_every=500,
    )
