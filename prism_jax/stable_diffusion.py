"""One Stable Diffusion model: text encoder, VAE, UNet, tokenizer and noise schedule."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from prism_jax import rng, sharding
from prism_jax.atomic import atomic_folder
from prism_jax.diffusion import sampling
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.models.autoencoder import AutoencoderKL
from prism_jax.models.text_encoder import CLIPTextModel
from prism_jax.models.unet import UNet2DCondition
from prism_jax.pretrained import folder as model_folder
from prism_jax.weights import pretrained

CLASSES = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "scheduler": ("diffusers", "DDIMScheduler"),
}
CARD_FILE = "prism_card.json"  # see prism_jax/model_card.py; diffusers ignores it


@dataclasses.dataclass(frozen=True, kw_only=True)
class StableDiffusion:
    """Stable Diffusion 1.x or 2.x.

    Images are float32 `[b, h, w, 3]` in [-1, 1]; latents float32 `[b, h/8, w/8, 4]`, scaled by the VAE's scaling
    factor; contexts float32 `[b, 77, d]`. Methods are jitted: each new shape compiles once.
    """

    unet: UNet2DCondition
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: Any  # transformers.CLIPTokenizer
    schedule: NoiseSchedule
    card: Mapping[str, Any] | None = None  # JSON object of prism_jax.model_card; None: a folder without one

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, dtype: jnp.dtype = jnp.float32, *, remat: bool = False
    ) -> "StableDiffusion":
        """Reads a shipped model by its name, or a folder in the diffusers layout. `dtype` is compute; parameters are
        float32.

        Raises:
          ValueError: a part is missing or damaged, a weight is left over or missing, a pickle instead of safetensors,
            or a network or schedule that is not one of SD 1.x or SD 2.x.
        """
        folder = model_folder(folder)
        if not (folder / "unet").is_dir():
            raise ValueError(
                f"{folder} is not a diffusers folder: it has no unet/; give the folder of model_index.json"
            )
        schedule = ScheduleConfig.from_dict(pretrained.read_json(folder / "scheduler" / "scheduler_config.json"))
        return cls(
            unet=pretrained.load(UNet2DCondition, folder / "unet", dtype=dtype, remat=remat),
            vae=pretrained.load(AutoencoderKL, folder / "vae", dtype=dtype),
            text_encoder=pretrained.load(CLIPTextModel, folder / "text_encoder", dtype=dtype),
            tokenizer=load_tokenizer(folder / "tokenizer"),
            schedule=NoiseSchedule.create(schedule),
            card=read_card(folder),
        )

    def save_pretrained(self, folder: str | Path, dtype: jnp.dtype = jnp.float32) -> None:
        """Writes a folder that `from_pretrained` and PyTorch diffusers read; it appears whole or not at all.

        Raises:
          ValueError: `folder` exists already.
        """
        with atomic_folder(Path(folder)) as partial_folder:
            for name in ("unet", "vae", "text_encoder"):
                pretrained.save(getattr(self, name), partial_folder / name, dtype=dtype)
            save_tokenizer(self.tokenizer, partial_folder / "tokenizer")
            (partial_folder / "scheduler").mkdir()
            pretrained.write_json(self.schedule.config.to_dict(), partial_folder / "scheduler/scheduler_config.json")
            index = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False} | CLASSES
            absent = {"safety_checker": (None, None), "feature_extractor": (None, None)}
            pretrained.write_json(index | absent, partial_folder / "model_index.json")
            if self.card is not None:
                pretrained.write_json(dict(self.card), partial_folder / CARD_FILE)

    def on(self, mesh: Mesh) -> "StableDiffusion":
        """The same model with its networks replicated over the devices of `mesh`."""
        put = lambda network: jax.device_put(network, sharding.replicated(mesh))
        networks = {name: put(getattr(self, name)) for name in ("unet", "vae", "text_encoder", "schedule")}
        return dataclasses.replace(self, **networks)

    @property
    def scaling_factor(self) -> float:
        return self.vae.config.scaling_factor

    @property
    def size(self) -> int:
        """The side, in pixels, of the images that the UNet was trained on."""
        return self.unet.config.sample_size * self.vae.config.factor

    def tokenize(self, prompts: Sequence[str]) -> np.ndarray:
        """Token ids, int32 `[b, 77]`, with start, end and padding.

        Raises:
          ValueError: a prompt needs more than 77 tokens.
        """
        return tokenize(self.tokenizer, prompts, length=self.text_encoder.config.max_position_embeddings)

    def encode_prompt(self, prompts: Sequence[str]) -> jax.Array:
        """The text encoder's last hidden state, `[b, 77, d]`."""
        return _encode_prompt(self.text_encoder, self.tokenize(prompts))

    def encode_image(self, images: jax.Array) -> jax.Array:
        """The posterior mean of images in [-1, 1], scaled: latents `[b, h/8, w/8, 4]`."""
        if images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(f"images have the shape {images.shape}; give [b, h, w, 3]")
        return _encode_image(self.vae, images)

    def decode(self, latents: jax.Array) -> jax.Array:
        """Decoded images of latents; values may lie slightly outside [-1, 1]."""
        return _decode(self.vae, latents)

    def predict_noise(self, latents: jax.Array, timesteps: jax.Array | int, context: jax.Array) -> jax.Array:
        """The raw UNet output (noise, or v where the schedule says so); `timesteps` is `[b]` or one for all."""
        return _predict_noise(self.unet, latents, jnp.asarray(timesteps), context)

    def sample(
        self,
        prompts: Sequence[str],
        steps: int = 50,
        guidance: float = 7.5,
        seed: int = 0,
        latents: jax.Array | None = None,
        height: int | None = None,
        width: int | None = None,
        sampler: str = "ddim",
    ) -> jax.Array:
        """Images `[b, h, w, 3]` of the prompts, by DDIM or by DPM-Solver++ (`sampler="dpm_solver"`).

        `height` and `width` default to the size the model was trained on. `latents` replaces the seeded noise.
        """
        check_prompts(prompts)
        if latents is None:
            shape = self.latent_shape(height or self.size, width or self.size)
            noise = rng.stream(rng.key(seed), "initial latents")
            latents = sampling.initial_latents(noise, jnp.arange(len(prompts)), shape)
        ids = self.tokenize([*prompts, ""])
        clean = _sample(
            self.unet,
            self.text_encoder,
            self.schedule,
            latents,
            ids,
            jnp.float32(guidance),
            steps=steps,
            sampler=sampler,
        )
        return self.decode(clean)

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """The latents' shape for images of this size; ValueError if the networks cannot take it."""
        unit = self.vae.config.factor * self.unet.config.factor
        for side in (height, width):
            if side % unit or side <= 0:
                low = max(side - side % unit, unit)
                raise ValueError(
                    f"an image side of {side} pixels is not a multiple of {unit}; use {low} or {low + unit}"
                )
        factor = self.vae.config.factor
        return height // factor, width // factor, self.vae.config.latent_channels


def read_card(folder: str | Path) -> dict[str, Any] | None:
    """The JSON object in the card of a model's folder; None without one, ValueError where it is no JSON object."""
    file = Path(folder) / CARD_FILE
    return pretrained.read_json(file) if file.exists() else None


def check_prompts(prompts: Sequence[str]) -> None:
    """Raises ValueError for one string, which Python would take for a list of letters."""
    if isinstance(prompts, str):
        raise ValueError(f'prompts is one string; give a list: ["{prompts}"]')


def tokenize(tokenizer: Any, prompts: Sequence[str], *, length: int) -> np.ndarray:
    """Token ids, int32 `[b, length]`, with start, end and padding; ValueError for what does not fit."""
    check_prompts(prompts)
    padded = np.full((len(prompts), length), tokenizer.pad_token_id, np.int32)
    for row, prompt in zip(padded, prompts, strict=True):
        # A tokenizer keeps padding and truncation as state, which other threads would see.
        ids = tokenizer(prompt, verbose=False).input_ids
        if len(ids) > length:
            raise ValueError(f"prompt of {len(ids)} tokens, the limit is {length}; shorten it: {prompt[:60]!r}...")
        row[: len(ids)] = ids
    return padded


def load_tokenizer(folder: str | Path) -> Any:
    """The CLIP tokenizer in `folder`; ValueError if there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is missing; it holds the tokenizer (vocab.json and merges.txt, or tokenizer.json)")
    if not any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json")):
        # transformers would return a tokenizer to which every word is unknown.
        raise ValueError(f"no tokenizer in {folder}: expected vocab.json and merges.txt, or tokenizer.json")
    # transformers otherwise advises, on every start, to install PyTorch.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Writes the tokenizer's own files, and the vocab.json and merges.txt that older readers want."""
    tokenizer.save_pretrained(folder)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")


@jax.jit
def _encode_prompt(text_encoder: CLIPTextModel, ids: jax.Array) -> jax.Array:
    return text_encoder(ids)


@jax.jit
def _encode_image(vae: AutoencoderKL, images: jax.Array) -> jax.Array:
    return vae.encode(images)[0] * vae.config.scaling_factor


@jax.jit
def _decode(vae: AutoencoderKL, latents: jax.Array) -> jax.Array:
    return vae.decode(latents / vae.config.scaling_factor)


@jax.jit
def _predict_noise(unet: UNet2DCondition, latents: jax.Array, timesteps: jax.Array, context: jax.Array) -> jax.Array:
    return unet(latents, timesteps, context)


@partial(jax.jit, static_argnames=("steps", "sampler"))
def _sample(unet, text_encoder, schedule, latents, ids, guidance, *, steps: int, sampler: str) -> jax.Array:
    context, null = jnp.split(text_encoder(ids), [len(ids) - 1])  # [b, 77, d], [1, 77, d]
    null = jnp.broadcast_to(null, context.shape)
    predict_noise = sampling.guided(unet, context, null, guidance)
    return sampling.sample(predict_noise, latents, schedule, steps=steps, sampler=sampler)
