"""UNet and text encoder of the shipped model, trained on phantoms at 128x128 with independent findings.

Program: prism train pretrain
Needs: prism data build phantom --out data/phantom_balanced --preset balanced --train 16000 --val 256 --test 256
    prism train vae --config phantom/vae
    prism train tokenizer --config phantom/tokenizer
Takes: 95 minutes on two shared CPU cores; on a GPU not measured

Every finding is present in half of the phantoms.
"""

from prism_jax.models.text_encoder import TextConfig
from prism_jax.models.unet import UNetConfig
from prism_jax.training.examples import Data
from prism_jax.training.finetune import lora
from prism_jax.training.finetune.pretrain import PretrainRun
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.training.finetune.validation import FinetuneValidation, SampleGrid
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig

HEALTHY = "no cardiomegaly, no effusion, no pacemaker, no support lines"


def config() -> PretrainRun:
    return PretrainRun(
        text_encoder=TextConfig(hidden_size=96, intermediate_size=384, num_hidden_layers=2, num_attention_heads=4),
        unet=UNetConfig(
            block_out_channels=(64, 128, 128),
            layers_per_block=1,
            cross_attention=(True, True, False),
            num_heads=(4, 4, 4),
            cross_attention_dim=96,
            norm_num_groups=16,
        ),
        training=FinetuneRun(
            run="runs/phantom_base",
            data=Data(folder="data/phantom_balanced", size=128),
            batch_size=32,
            latents="runs/phantom_base/latents",
            trained=lora.UNET_AND_TEXT,
            ema_decay=0.999,
            optimizer=OptimizerConfig(peak=1e-3, warmup=300, decay="cosine", final=0.05, weight_decay=0.01),
            loop=LoopConfig(steps=4800, log_every=50, checkpoint_every=500),
            samples=SampleGrid(
                prompts=(
                    f"Chest X-ray of a 40-year-old man, PA view, with {HEALTHY}",
                    f"Chest X-ray of a 70-year-old woman, AP view, with {HEALTHY.replace('no card', 'card')}",
                    f"Chest X-ray of a 55-year-old man, PA view, with {HEALTHY.replace('no eff', 'eff')}",
                    f"Chest X-ray of a 60-year-old man, PA view, with {HEALTHY.replace('no pace', 'pace')}",
                    f"Chest X-ray of a 60-year-old woman, AP view, with {HEALTHY.replace('no supp', 'supp')}",
                ),
                guidance=3.0,
            ),
            validation=FinetuneValidation(every=500),
        ),
    )
