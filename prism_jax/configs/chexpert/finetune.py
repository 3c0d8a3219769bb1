"""Stable Diffusion 1.5 fine-tuned on CheXpert as in PRISM (Kumar et al. 2025, arXiv 2503.00196).

Program: prism train finetune
Needs: a Stable Diffusion 1.5 in the diffusers layout, given as --model DIR
    prism data build chexpert --source CheXpert-v1.0 --out data/chexpert
    prism train encode_latents --config chexpert/finetune --model DIR
Takes: not measured; sized for four GPUs

Beside each value is its name in finetune_chexpert.py of PRISM's repository, with what differs. That script also decodes
and encodes every image anew in every epoch, and cannot resume. launch/slurm.sbatch starts it on a cluster. For your own
best model rather than theirs, start from mimic_cxr/finetune.
"""

import jax.numpy as jnp

from prism_jax.data.captions.templates import PRISM, CaptionConfig
from prism_jax.training.examples import Data
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.training.finetune.step import DenoisingObjective
from prism_jax.training.finetune.validation import FinetuneValidation, SampleGrid
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig

IMAGES = 223414 * 7 // 10  # 156389: the training split, with frontal and lateral views (191027 are frontal)
EPOCHS = 100  # num_train_epochs
BATCH = 8 * 4 * 4  # train_batch_size, gradient_accumulation_steps, GPUs


def config() -> FinetuneRun:
    return FinetuneRun(
        run="runs/chexpert_sd15",
        model="models/stable-diffusion-v1-5",  # model_name_or_path
        # resolution 512. They squeeze each image into a square; here it is padded to one, so that a heart's width
        # stays comparable with its height. Captions list the labels
        # that are 1 ("Chest X-ray showing Edema, Support Devices"), without view, age or what is absent; where none is,
        # theirs says "Normal chest X-ray with no significant findings", ours "Chest X-ray", and "showing No Finding"
        # only where that label says so.
        data=Data(folder="data/chexpert", size=512, captions=CaptionConfig(templates=(PRISM,))),
        latents="runs/chexpert_latents",
        batch_size=BATCH,
        accumulate=4,  # 8 images a GPU at a time on 4 GPUs; with 16 GPUs 1, and 8 too
        # latent_dist.sample(), the plain mean squared error of the noise, no caption dropped: guidance then sets the
        # text against an empty prompt that the fine-tuned model never saw. 0.1 teaches it.
        objective=DenoisingObjective(sample_posterior=True, caption_dropout=0.0),
        # mixed_precision is fp16 with a loss scale there, of the UNet only; bfloat16 needs none. Here it is VAE's and
        # text encoder's too, and latents are kept in float16.
        dtype=jnp.dtype(jnp.bfloat16),
        ema_decay=None,  # they average nothing; 0.9999 costs no time and gives the better samples
        optimizer=OptimizerConfig(
            peak=1e-5,  # learning_rate, without schedule
            warmup=0,
            decay="constant",
            b1=0.9,  # adam_beta1
            b2=0.999,  # adam_beta2
            eps=1e-8,  # adam_epsilon
            weight_decay=1e-2,  # adam_weight_decay; biases and norms, which decay there, are spared here
            clip=1.0,  # the bound is fixed in their loop, max_grad_norm is not read
        ),
        # 100 epochs of 156389 // 128 = 1221 updates, 15.6 million images. Their loader hands a DistributedSampler to
        # accelerate, which divides its batches among the GPUs once more: an epoch there is a quarter of the images, the
        # whole run 30500 updates. Use --loop.steps 30500 to match the run that was published rather than its settings.
        loop=LoopConfig(steps=EPOCHS * (IMAGES // BATCH), log_every=50, checkpoint_every=1000),
        validation=FinetuneValidation(every=1000),  # they have none
        samples=SampleGrid(
            every=5000, prompts=("Chest X-ray of a patient with cardiomegaly", "Chest X-ray of a patient")
        ),
    )
