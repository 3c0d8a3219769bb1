"""Trains a small Stable Diffusion, given a VAE: `prism train pretrain --config phantom/pretrain`.

Creates an untrained model, `initial/` in the run folder, and trains its UNet and text encoder.
"""

import dataclasses
from pathlib import Path

import jax
from flax import nnx
from jax.experimental import multihost_utils

from prism_jax import config as configs
from prism_jax import rng
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.models.autoencoder import AutoencoderKL
from prism_jax.models.text_encoder import CLIPTextModel, TextConfig
from prism_jax.models.unet import UNet2DCondition, UNetConfig
from prism_jax.stable_diffusion import StableDiffusion, load_tokenizer
from prism_jax.training import run_folder
from prism_jax.training.finetune import lora
from prism_jax.training.finetune import run as finetune_run
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.weights import pretrained


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainRun:
    """Everything a run of this program depends on."""

    vae: str = "runs/phantom_autoencoder/vae"
    """Folder of a trained VAE."""
    tokenizer: str = "runs/phantom_tokenizer"
    """Folder of a tokenizer in CLIP's format."""
    text_encoder: TextConfig = TextConfig()
    """Its vocab_size is taken from the tokenizer."""
    unet: UNetConfig = UNetConfig()
    """Its sample_size is taken from the data."""
    schedule: ScheduleConfig = ScheduleConfig()
    training: FinetuneRun = FinetuneRun(trained=lora.UNET_AND_TEXT)
    """Its model is the untrained folder."""


def main(config: PretrainRun) -> None:
    """Trains in the folder `config.training.run`, from its latest checkpoint if there is one.

    That folder is one of train.finetune, started from the model in `initial/`; the options of this program
    are kept in `base/config.json`.
    """
    config.training.processes.initialize()
    with run_folder.locked(config.training.run):
        training = prepare(config)
        finetune_run.train(training, finetune_run.mesh_of(training))


def prepare(config: PretrainRun) -> FinetuneRun:
    """Makes the untrained model, if it is not there yet; returns the training that starts from it."""
    run = Path(config.training.run)
    initial = run / "initial"
    sd = untrained(config)
    if jax.process_index() == 0 and not initial.exists():
        sd.save_pretrained(initial)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("initial model written")
    check_same(StableDiffusion.from_pretrained(initial), sd, initial)
    configs.write(config, run / "base")
    return dataclasses.replace(config.training, model=str(initial))


def check_same(saved: StableDiffusion, wanted: StableDiffusion, folder: Path) -> None:
    """Raises ValueError where the networks in `folder` have other options than those asked for."""
    for name in ("vae", *finetune_run.NETWORKS):
        there, asked = (getattr(sd, name).config.to_dict() for sd in (saved, wanted))
        for option in asked:
            if there[option] != asked[option]:
                raise ValueError(
                    f"{folder} was made with {name} {option} {there[option]}, not {asked[option]}; "
                    "use another run folder"
                )


def untrained(config: PretrainRun) -> StableDiffusion:
    """A model with the given VAE and tokenizer and everything else at its initial values."""
    tokenizer = load_tokenizer(config.tokenizer)
    vae = pretrained.load(AutoencoderKL, config.vae)
    text = dataclasses.replace(config.text_encoder, vocab_size=len(tokenizer))
    unet = dataclasses.replace(config.unet, sample_size=config.training.data.size // vae.config.factor)
    if unet.cross_attention_dim != text.hidden_size:
        raise ValueError(
            f"unet.cross_attention_dim {unet.cross_attention_dim} differs from text_encoder.hidden_size "
            f"{text.hidden_size}; make them equal"
        )
    root = rng.key(config.training.seed)
    rngs = lambda name: nnx.Rngs(rng.stream(root, name))
    return StableDiffusion(
        unet=UNet2DCondition(unet, rngs=rngs("init unet")),
        vae=vae,
        text_encoder=CLIPTextModel(text, rngs=rngs("init text encoder")),
        tokenizer=tokenizer,
        schedule=NoiseSchedule.create(config.schedule),
    )
