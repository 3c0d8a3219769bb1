"""Stable Diffusion 1.5 fine-tuned on MIMIC-CXR, 512x512, on eight GPUs or more.

prism data build mimic_cxr --source mimic-cxr-jpg --out data/mimic_cxr --views AP PA \\
    --sections mimic_cxr_sectioned.csv --patients patients.csv.gz --admissions admissions.csv.gz
python -m train.encode_latents --config configs/mimic_cxr/finetune.py --model DIFFUSERS_FOLDER
python -m train.finetune --config configs/mimic_cxr/finetune.py --model DIFFUSERS_FOLDER    # or launch/slurm.sbatch
prism export --run runs/mimic_sd15 --out runs/mimic_sd15/model

What differs from PRISM's setting (configs/chexpert/finetune.py) is what a run for use needs: captions dropped, so that
guidance has an empty prompt to set the text against; an average of the weights; a warm-up and a falling rate, higher
because the batch is twice theirs; timesteps weighed by min-SNR, which takes fewer steps to the same quality.
"""

import jax.numpy as jnp

from prism_jax.data.captions.templates import PARAPHRASES, CaptionConfig
from prism_jax.training.examples import Data
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.training.finetune.step import DenoisingObjective
from prism_jax.training.finetune.validation import FinetuneValidation, Reconstructions, SampleGrid
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> FinetuneRun:
    return FinetuneRun(
        run="runs/mimic_sd15",
        model="models/stable-diffusion-v1-5",
        # Half of the captions are impressions of reports, cut at a sentence; the others labels, in four wordings.
        data=Data(folder="data/mimic_cxr", size=512, captions=CaptionConfig(templates=PARAPHRASES, reports=0.5)),
        latents="runs/mimic_latents",
        batch_size=256,  # 32 a GPU on eight
        objective=DenoisingObjective(caption_dropout=0.1, min_snr=5.0),
        dtype=jnp.dtype(jnp.bfloat16),
        remat=True,  # 32 a GPU without it take some 100 GB, by the compiler's count for CPUs
        optimizer=OptimizerConfig(peak=5e-5, warmup=1000, decay="cosine", weight_decay=1e-2),
        # MIMIC-CXR-JPG has 377110 images; 60000 updates of 256 are some 40 epochs of them.
        loop=LoopConfig(steps=60000, log_every=50, checkpoint_every=1000),
        validation=FinetuneValidation(every=1000),
        samples=SampleGrid(
            every=2000, prompts=("Chest X-ray of a patient with cardiomegaly", "Chest X-ray of a patient")
        ),
        reconstructions=Reconstructions(every=10000),
    )
