"""Stable Diffusion 1.5 fine-tuned on MIMIC-CXR at 512x512.

Program: prism train finetune
Needs: a Stable Diffusion 1.5 in the diffusers layout, given as --model DIR
    prism data build mimic_cxr --source mimic-cxr-jpg --out data/mimic_cxr --views AP PA --sections \\
        mimic_cxr_sectioned.csv --patients patients.csv.gz --admissions admissions.csv.gz
    prism train encode_latents --config mimic_cxr/finetune --model DIR
Takes: not measured; sized for eight GPUs or more

Differs from PRISM's setting (chexpert/finetune) where a model for general use needs it: captions dropped at random, so
that guidance has a trained empty prompt; averaged weights; a warm-up and a decaying rate, higher because the batch is
twice theirs; timesteps weighted by min-SNR, which reaches the same quality in fewer steps. launch/slurm.sbatch starts
it on a cluster.
"""

import jax.numpy as jnp

from prism_jax.data.captions.templates import PARAPHRASES, CaptionConfig
from prism_jax.training.examples import Data
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.training.finetune.step import DenoisingObjective
from prism_jax.training.finetune.validation import Reconstructions, SampleGrid
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> FinetuneRun:
    return FinetuneRun(
        run="runs/mimic_sd15",
        model="models/stable-diffusion-v1-5",
        # Half of the captions are impressions of reports, cut at a sentence; the others labels, in four wordings.
        data=Data(
            folder="data/mimic_cxr", size=512, captions=CaptionConfig(templates=PARAPHRASES, report_fraction=0.5)
        ),
        latents="runs/mimic_latents",
        batch_size=256,  # 32 a GPU on eight
        objective=DenoisingObjective(caption_dropout=0.1, min_snr=5.0),
        dtype=jnp.dtype(jnp.bfloat16),
        remat=True,  # 32 a GPU without it take some 100 GB, by the compiler's count for CPUs
        optimizer=OptimizerConfig(peak=5e-5, warmup=1000, decay="cosine", weight_decay=1e-2),
        # MIMIC-CXR-JPG has 377110 images; 60000 updates of 256 are some 40 epochs of them.
        loop=LoopConfig(steps=60000, log_every=50, checkpoint_every=1000),
        samples=SampleGrid(
            every=2000, prompts=("Chest X-ray of a patient with cardiomegaly", "Chest X-ray of a patient")
        ),
        reconstructions=Reconstructions(every=10000),
    )
