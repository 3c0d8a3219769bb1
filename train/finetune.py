"""Fine-tunes Stable Diffusion: `python -m train.finetune --config configs/NAME.py [--section.option value]`.

The UNet is trained, the VAE is frozen, the text encoder is frozen unless asked otherwise. `prism export` then
writes the averaged weights as a diffusers folder.
"""

import dataclasses
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from PIL import Image

from prism_jax import config as configs
from prism_jax import program, sharding
from prism_jax.data import transforms
from prism_jax.stable_diffusion import StableDiffusion
from train import denoising, examples
from train import state as states
from train.batches import ArrayBatches
from train.examples import Data, Stream
from train.loop import Batches, Hook, LoopConfig, fit
from train.optimizer import OptimizerConfig, make_optimizer

NETWORKS = ("unet", "vae", "text_encoder")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """A grid of pictures, drawn with the averaged weights into samples/STEP.png."""

    every: int = 1000
    prompts: tuple[str, ...] = ("",)
    """One column each."""
    rows: int = 2
    steps: int = 25
    guidance: float = 7.5
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneRun:
    """Everything a run of this program depends on."""

    run: str = "runs/finetune"
    seed: int = 0
    model: str = "model"
    """Diffusers folder to start from."""
    data: Data = Data()
    batch_size: int = 16
    """Over all devices."""
    train_text_encoder: bool = False
    caption_dropout: float = 0.1
    """Share of examples that see the empty prompt."""
    precompute_latents: bool = False
    """Encode the whole data set into memory first, instead of each batch when it comes."""
    dtype: jnp.dtype = jnp.dtype("float32")
    """Of the computation: bfloat16 on accelerators. Parameters, moments and loss are float32."""
    remat: bool = False
    """Recompute the UNet's blocks in the backward pass, for memory."""
    ema_decay: float | None = 0.9999
    optimizer: OptimizerConfig = OptimizerConfig()
    loop: LoopConfig = LoopConfig()
    samples: Samples = Samples()


def main(config: FinetuneRun) -> None:
    """Trains in the folder `config.run`, from its latest checkpoint if there is one."""
    train(config, sharding.make_mesh())


def train(config: FinetuneRun, mesh: Mesh) -> states.TrainState:
    """What `main` does, on the devices of `mesh`; returns the last state."""
    check(config, mesh)
    sd = StableDiffusion.from_pretrained(config.model, dtype=config.dtype, remat=config.remat)
    sd.tokenize(config.samples.prompts)  # too long a prompt fails here, not at the first grid
    tx, schedule = make_optimizer(config.optimizer, config.loop.steps)
    batches, latents_of = make_batches(config, sd, mesh)
    configs.write(config, config.run)
    trained = ("unet", "text_encoder") if config.train_text_encoder else ("unet",)
    graphdefs, weights = split(sd)
    # On the host: the device holds the trained weights once, in the state.
    initial = jax.device_get({name: weights.pop(name) for name in trained})
    frozen = {"networks": weights, "schedule": sd.schedule, "no_caption": sd.tokenize([""])[0]}
    parts = dataclasses.replace(sd, **dict.fromkeys(trained))
    del sd
    new_state = jax.jit(
        partial(states.create, tx=tx, ema=config.ema_decay is not None),
        out_shardings=sharding.replicated(mesh),
    )
    return fit(
        partial(
            denoising.train_step,
            graphdefs=graphdefs,
            latents_of=latents_of,
            caption_dropout=config.caption_dropout,
            update=partial(states.update, tx=tx, schedule=schedule, ema_decay=config.ema_decay),
        ),
        create=lambda: new_state(initial),
        frozen=frozen,
        batches=batches,
        config=config.loop,
        run=config.run,
        seed=config.seed,
        mesh=mesh,
        hooks=(Hook(every=config.samples.every, call=partial(draw_samples, config, parts, graphdefs)),),
    )


def check(config: FinetuneRun, mesh: Mesh) -> None:
    """Raises ValueError for options that do not fit, before anything slow."""
    sharding.check_batch_size(config.batch_size, mesh)
    if not 0 <= config.caption_dropout <= 1:
        raise ValueError(f"caption_dropout {config.caption_dropout} is a share; use 0 to 1")


def split(sd: StableDiffusion) -> tuple[dict[str, nnx.GraphDef], dict[str, Any]]:
    """Structure and parameters (nested dicts) of the three networks, by name."""
    parts = {name: nnx.split(getattr(sd, name)) for name in NETWORKS}
    graphdefs = {name: graphdef for name, (graphdef, _) in parts.items()}
    return graphdefs, {name: nnx.to_pure_dict(state) for name, (_, state) in parts.items()}


def make_batches(config: FinetuneRun, sd: StableDiffusion, mesh: Mesh) -> tuple[Batches, denoising.Latents]:
    """The data iterator, and how the step gets latents from its batches."""
    factor = sd.vae.config.factor
    sd.latent_shape(config.data.size, config.data.size)  # raises for a size that the networks cannot take
    options = dict(batch_size=config.batch_size, seed=config.seed)
    if not config.precompute_latents:
        return Stream(config.data, sd.tokenize, factor=factor, **options), denoising.encoded
    loaded = examples.load(config.data, factor=factor, tokenize=sd.tokenize)
    arrays = {
        "latents": encode_all(sd, loaded.images, config.batch_size, mesh),
        "tokens": sd.tokenize(loaded.captions),
        "id": loaded.ids,
    }
    return ArrayBatches(arrays, **options), denoising.stored


def encode_all(sd: StableDiffusion, images: np.ndarray, batch_size: int, mesh: Mesh) -> np.ndarray:
    """Scaled latents, float32 [n, h/8, w/8, 4], of grey uint8 images [n, h, w]; every host encodes all."""
    everywhere = sharding.replicated(mesh)
    encode = jax.jit(_encode, out_shardings=everywhere)
    vae = jax.device_put(sd.vae, everywhere)
    found = []
    for start in range(0, len(images), batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), len(images) - 1)
        batch = jax.device_put(images[rows], sharding.over_batch(mesh))
        with jax.set_mesh(mesh):
            found.append(jax.device_get(encode(vae, batch)))
    return np.concatenate(found)[: len(images)]


def _encode(vae: nnx.Module, images: jax.Array) -> jax.Array:
    images = images[..., None].astype(jnp.float32) / 127.5 - 1  # [b, h, w, 1]
    images = jnp.broadcast_to(images, (*images.shape[:3], 3))
    return denoising.encoded({"vae": vae}, {"image": images})


def draw_samples(
    config: FinetuneRun,
    parts: StableDiffusion,
    graphdefs: Mapping[str, nnx.GraphDef],
    state: states.TrainState,
    step: int,
) -> None:
    """Writes samples/STEP.png: a column for each prompt, rows with different noise."""
    params = states.averaged(state)
    sd = dataclasses.replace(parts, **{name: nnx.merge(graphdefs[name], params[name]) for name in params})
    options, side = config.samples, config.data.size
    prompts = [prompt for prompt in options.prompts for _ in range(options.rows)]
    images = sd.sample(
        prompts, steps=options.steps, guidance=options.guidance, seed=options.seed, height=side, width=side
    )
    if jax.process_index() == 0:
        write_grid(transforms.to_uint8(images), options.rows, Path(config.run) / "samples" / f"{step}.png")


def write_grid(images: np.ndarray, rows: int, path: Path) -> None:
    """A PNG of uint8 images [n, h, w, 3], column by column."""
    columns = [np.concatenate(list(images[i : i + rows])) for i in range(0, len(images), rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(columns, axis=1)).save(path)


if __name__ == "__main__":
    sys.exit(program.run(main, FinetuneRun))
