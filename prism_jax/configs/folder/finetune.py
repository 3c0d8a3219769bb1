"""Stable Diffusion 1.5 fine-tuned on a folder of X-rays at 512x512.

Program: prism train finetune
Needs: a Stable Diffusion 1.5 in the diffusers layout, given as --model DIR
    prism data build folder --source my_xrays --out data/my_xrays
    prism train encode_latents --config folder/finetune --model DIR
Takes: not measured; sized for one GPU or more

With only a few hundred images, train little: --trained '^unet\\..*\\.attn2\\.' (cross-attention), or lora=Lora(rank=16)
below, and fewer --loop.steps. --data.class_weight_on FINDING weighs a rare finding as much as its
absence.
"""

import jax.numpy as jnp

from prism_jax.training.examples import Data
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.training.finetune.validation import SampleGrid
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> FinetuneRun:
    return FinetuneRun(
        run="runs/folder_sd15",
        model="models/stable-diffusion-v1-5",
        data=Data(folder="data/my_xrays", size=512),
        latents="runs/folder_latents",
        dtype=jnp.dtype(jnp.bfloat16),
        remat=True,  # for memory, at the cost of a third more work
        optimizer=OptimizerConfig(peak=5e-5, warmup=500, decay="cosine", weight_decay=0.01),
        loop=LoopConfig(steps=20000, log_every=50, checkpoint_every=1000),
        samples=SampleGrid(every=1000, prompts=("Chest X-ray",)),
    )
