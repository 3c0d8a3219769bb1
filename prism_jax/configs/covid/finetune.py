"""The shipped model fine-tuned on real X-rays, with its text encoder: their captions hold new words.

Program: prism train finetune
Needs: prism train vae --config covid/vae
    a copy of the shipped model, prism_jax/pretrained/phantom, in runs/covid_start, its vae/ replaced by \\
        runs/covid_autoencoder/vae
    prism train encode_latents --config covid/finetune
Takes: not measured
"""

from prism_jax.training.examples import Data
from prism_jax.training.finetune import lora
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.training.finetune.validation import FinetuneValidation, SampleGrid
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> FinetuneRun:
    return FinetuneRun(
        run="runs/covid_finetune",
        model="runs/covid_start",
        data=Data(folder="data/covid", size=128),
        batch_size=32,
        latents="runs/covid_latents",
        trained=lora.UNET_AND_TEXT,
        ema_decay=0.995,
        optimizer=OptimizerConfig(peak=5e-4, warmup=100, decay="cosine", final=0.05, weight_decay=0.01),
        loop=LoopConfig(steps=1500, log_every=50, checkpoint_every=250),
        samples=SampleGrid(
            every=500,
            prompts=(
                "Chest X-ray of a 60-year-old man, AP view, with covid-19, endotracheal tube",
                "Chest X-ray of a 60-year-old man, AP view, with covid-19, no endotracheal tube",
                "Chest X-ray of a 30-year-old woman, PA view, with covid-19, no endotracheal tube",
                "Chest X-ray of an 80-year-old woman, PA view, with covid-19, no endotracheal tube",
            ),
            guidance=3.0,
        ),
        validation=FinetuneValidation(every=250),
    )
