"""The demo's training: the shipped model for 250 steps on phantoms with correlated findings.

Program: prism train finetune
Needs: prism data build phantom --out runs/demo/data --preset strong --train 2000 --val 64 --test 256
    prism train encode_latents --config demo/finetune
Takes: 2.5 minutes on 2 CPU cores; on a GPU not measured

Cardiomegaly and the pacemaker are correlated in these phantoms. `make demo` runs it.
"""

from prism_jax.training.examples import Data
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.training.finetune.validation import FinetuneValidation, SampleGrid
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> FinetuneRun:
    patient = "Chest X-ray of a 60-year-old man, PA view, with"
    return FinetuneRun(
        run="runs/demo/finetune",
        model="phantom",
        data=Data(folder="runs/demo/data", size=128),
        latents="runs/demo/latents",
        ema_decay=0.99,
        optimizer=OptimizerConfig(peak=2e-4, warmup=30, decay="cosine", final=0.05, weight_decay=0.01),
        loop=LoopConfig(steps=250, log_every=10, checkpoint_every=125, keep=1),
        samples=SampleGrid(
            every=125,
            prompts=(
                f"{patient} no cardiomegaly, no effusion, no pacemaker, no support lines",
                f"{patient} cardiomegaly, no effusion, pacemaker, no support lines",
            ),
            guidance=3.0,
        ),
        validation=FinetuneValidation(every=125, limit=64),
    )
