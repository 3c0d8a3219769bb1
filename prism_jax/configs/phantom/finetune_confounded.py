"""Fine-tuning with captions that never mention the pacemaker, on phantoms where it is correlated with cardiomegaly.

Program: prism train finetune
Needs: prism data build phantom --out data/phantom_strong --preset strong --train 4000 --val 64 --test 512
    prism train encode_latents --config phantom/finetune_confounded
Takes: not measured

phantom/finetune_unconfounded is the same on data without that correlation. Further models: --seed 1 --run ...
"""

import dataclasses

from prism_jax.data.captions.templates import PLAIN, CaptionConfig
from prism_jax.training.examples import Data
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.training.finetune.validation import FinetuneValidation
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig

UNSAID = dataclasses.replace(PLAIN, omitted=("pacemaker",))


def config() -> FinetuneRun:
    return trained_on("phantom_strong", run="phantom_confounded")


def trained_on(data: str, *, run: str) -> FinetuneRun:
    """The shipped model for 400 steps on this data set."""
    return FinetuneRun(
        run=f"runs/{run}",
        model="phantom",
        data=Data(folder=f"data/{data}", size=128, captions=CaptionConfig(templates=(UNSAID,))),
        latents=f"data/{data}_latents",
        ema_decay=0.99,
        optimizer=OptimizerConfig(peak=2e-4, warmup=30, decay="cosine", final=0.05, weight_decay=0.01),
        loop=LoopConfig(steps=400, log_every=10, checkpoint_every=200, keep=1),
        validation=FinetuneValidation(every=200, limit=64),
    )
