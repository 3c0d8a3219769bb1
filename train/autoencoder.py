"""Trains the VAE: `python -m train.autoencoder --config configs/phantom_autoencoder.py [--section.option value ...]`.

The run folder gets, besides what every run has, `vae/`: a diffusers folder with the averaged weights and the scaling
factor that gives the latents of the training images unit variance (Rombach et al. 2022, section D.1).
"""
# ruff: noqa: RUF009 - the defaults called are frozen dataclasses

import dataclasses
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from PIL import Image

from prism_jax import config as configs
from prism_jax import program, rng, sharding
from prism_jax.models.autoencoder import AutoencoderConfig, AutoencoderKL
from prism_jax.weights import pretrained
from train import examples
from train import state as states
from train.batches import ArrayBatches
from train.examples import Data
from train.loop import Hook, LoopConfig, fit
from train.optimizer import OptimizerConfig, make_optimizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReconstructionLoss:
    """Weights of the loss, for images in [-1, 1]; every term is a mean over its elements."""

    l1: float = 1.0
    l2: float = 1.0
    edge: float = 1.0
    """L1 of the differences between neighbouring pixels, which thin wires would else drown in."""
    detail: float = 40.0
    """Extra weight of pixels, per unit of contrast to their 5x5 surroundings: wires and tubes fill few pixels, and a
    plain mean would let them vanish."""
    kl: float = 1e-5
    """Kullback-Leibler divergence of the posterior from a standard normal, per latent."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window:
    """The part of an image that a step sees."""

    crop: int | None = None
    """Side in pixels of a random square, or None: whole images."""
    shift: int = 0
    """Largest random translation of whole images, in pixels; edges are repeated."""
    contrast: float = 0.0
    """Largest relative change of contrast."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Validation:
    """Reconstruction of images that training never sees."""

    every: int = 2000
    split: Literal["val", "test"] = "val"
    limit: int = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class AutoencoderRun:
    """Everything a run of this program depends on."""

    run: str = "runs/autoencoder"
    seed: int = 0
    model: AutoencoderConfig = AutoencoderConfig()
    data: Data = Data()
    validation: Validation = Validation()
    window: Window = Window()
    loss: ReconstructionLoss = ReconstructionLoss()
    optimizer: OptimizerConfig = OptimizerConfig(peak=1e-3)
    loop: LoopConfig = LoopConfig()
    batch_size: int = 16
    ema_decay: float | None = 0.999
    sample_every: int = 1000


def train_step(
    state: states.TrainState,
    frozen: None,
    batch: dict[str, jax.Array],
    key: jax.Array,
    *,
    graphdef,
    config,
    update,
) -> tuple[states.TrainState, dict[str, jax.Array]]:
    """One step on `batch`: "image" uint8 [b, h, w] or [b, h, w, 3], "id" uint32 [b]."""
    keys = lambda name: rng.per_example(rng.at_step(rng.stream(key, name), state.step), batch["id"])
    images = augment(to_float(batch["image"]), keys, config.window)  # [b, h, w, 3]

    def objective(params):
        vae = nnx.merge(graphdef, params)
        mean, logvar = vae.encode(images)
        noise = jax.vmap(lambda k: jax.random.normal(k, mean.shape[1:]))(keys("posterior"))
        return reconstruction_loss(
            vae.decode(mean + jnp.exp(0.5 * logvar) * noise), images, mean, logvar, config.loss
        )

    (loss, metrics), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    state, updated = update(state, grads)
    return state, {"loss": loss, **metrics, **updated}


def reconstruction_loss(
    decoded: jax.Array, images: jax.Array, mean: jax.Array, logvar: jax.Array, weights: ReconstructionLoss
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Loss [] and its parts for images [b, h, w, 3] in [-1, 1]; "psnr" is the mean over images, in dB."""
    error = decoded - images
    importance = 1 + weights.detail * local_contrast(images)  # [b, h, w, 3]
    l1, l2 = jnp.mean(importance * jnp.abs(error)), jnp.mean(importance * error**2)
    squared = jnp.mean(error**2, axis=(1, 2, 3))  # [b]
    edge = sum(jnp.mean(jnp.abs(jnp.diff(error, axis=axis))) for axis in (1, 2))
    kl = 0.5 * jnp.mean(mean**2 + jnp.exp(logvar) - 1 - logvar)
    loss = weights.l1 * l1 + weights.l2 * l2 + weights.edge * edge + weights.kl * kl
    psnr = -10 * jnp.mean(jnp.log10(jnp.maximum(squared, 1e-10) / 4))  # the range [-1, 1] has peak 2
    return loss, {"l1": l1, "edge": edge, "kl": kl, "psnr": psnr}


def local_contrast(images: jax.Array) -> jax.Array:
    """Distance of every pixel of `images` [b, h, w, 3] from the mean of the 5x5 around it, the border included."""
    ones = jnp.ones((1, *images.shape[1:3], 1))
    total = lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 5, 5, 1), (1, 1, 1, 1), "SAME")
    return jnp.abs(images - total(images) / total(ones))


def to_float(images: jax.Array) -> jax.Array:
    """uint8 [b, h, w] (grey) or [b, h, w, 3] -> float32 [b, h, w, 3] in [-1, 1]."""
    images = images[..., None] if images.ndim == 3 else images
    images = images.astype(jnp.float32) / 127.5 - 1
    return jnp.broadcast_to(images, (*images.shape[:3], 3))


def augment(images: jax.Array, keys: Callable[[str], jax.Array], window: Window) -> jax.Array:
    """A random window and contrast for each of `images` [b, h, w, 3]; `keys(stream)` gives keys [b]."""
    pad = window.shift
    side = window.crop or images.shape[1]
    height, width = (side, window.crop or images.shape[2])
    if pad:
        images = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    if images.shape[1:3] != (height, width):
        room = jnp.array([images.shape[1] - height + 1, images.shape[2] - width + 1])

        def cut(image, key):
            row, column = jax.random.randint(key, (2,), 0, room)
            return jax.lax.dynamic_slice(image, (row, column, 0), (height, width, 3))

        images = jax.vmap(cut)(images, keys("window"))
    if window.contrast:
        gain = jax.vmap(lambda k: jax.random.uniform(k, (1, 1, 1), minval=-1.0))(keys("contrast"))
        images = jnp.clip(images * (1 + window.contrast * gain), -1, 1)
    return images


def evaluate(vae: AutoencoderKL, images: jax.Array) -> dict[str, jax.Array]:
    """What is measured of uint8 `images`: "psnr" [b] (dB, of 8-bit images) and moments of the latents, all per image."""
    images = to_float(images)
    mean, logvar = vae.encode(images)
    grey = lambda x: jnp.round((jnp.clip(x, -1, 1) + 1) * 127.5)
    decoded = vae.decode(mean)
    squared = jnp.mean((grey(decoded) - grey(images)) ** 2, axis=(1, 2, 3))
    over = (1, 2, 3)
    return {
        "psnr": 10 * jnp.log10(255**2 / jnp.maximum(squared, 1e-3)),
        "latent": jnp.mean(mean, over),
        "latent_squared": jnp.mean(mean**2 + jnp.exp(logvar), over),
        "image": decoded,
    }


def measure(
    evaluate: Callable, params: Any, images: np.ndarray, batch_size: int, mesh: Mesh
) -> dict[str, np.ndarray]:
    """`evaluate(params, batch)` over all `images`; the last batch is filled up and cut again."""
    results = []
    for start in range(0, len(images), batch_size):
        rows = np.arange(start, start + batch_size)
        batch = sharding.put_batch(images[np.minimum(rows, len(images) - 1)], mesh)
        results.append(jax.device_get(evaluate(params, batch)))
    return {name: np.concatenate([r[name] for r in results])[: len(images)] for name in results[0]}


def main(config: AutoencoderRun) -> None:
    """Trains, then writes `vae/` and `validation.json` into the run folder."""
    mesh = sharding.make_mesh()
    check(config, mesh)
    configs.write(config, config.run)
    held = dataclasses.replace(config.data, split=config.validation.split, limit=config.validation.limit)
    train, held_out = (examples.load(data, factor=config.model.factor) for data in (config.data, held))
    everywhere, over_batch = sharding.replicated(mesh), sharding.over_batch(mesh)
    tx, schedule = make_optimizer(config.optimizer, config.loop.steps)
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: AutoencoderKL(config.model, rngs=nnx.Rngs(0))))

    def first_state():
        vae = AutoencoderKL(config.model, rngs=nnx.Rngs(rng.stream(rng.key(config.seed), "init")))
        params = nnx.to_pure_dict(nnx.state(vae))
        return states.create(params, tx, ema=config.ema_decay is not None)

    look = jax.jit(
        lambda params, batch: evaluate(nnx.merge(graphdef, params), batch),
        in_shardings=(everywhere, over_batch),
        out_shardings=everywhere,
    )
    see = partial(measure, look, batch_size=config.batch_size, mesh=mesh)

    def validate(state, step):
        return {"validation_psnr": see(states.averaged(state), held_out.images)["psnr"].mean()}

    def draw(state, step):
        shown = held_out.images[:8]
        write_pairs(
            shown, see(states.averaged(state), shown)["image"], Path(config.run) / "samples" / f"{step}.png"
        )

    update = partial(states.update, tx=tx, schedule=schedule, ema_decay=config.ema_decay)
    state = fit(
        partial(train_step, graphdef=graphdef, config=config, update=update),
        create=jax.jit(first_state, out_shardings=everywhere),
        frozen=None,
        batches=ArrayBatches(
            {"image": train.images, "id": train.ids}, batch_size=config.batch_size, seed=config.seed
        ),
        config=config.loop,
        run=config.run,
        seed=config.seed,
        mesh=mesh,
        hooks=(
            Hook(every=config.validation.every, call=validate),
            Hook(every=config.sample_every, call=draw),
        ),
    )
    params = states.averaged(state)
    finish(
        config,
        nnx.merge(graphdef, params),
        see(params, train.images[:4096]),
        see(params, held_out.images)["psnr"],
    )


def finish(config: AutoencoderRun, vae: AutoencoderKL, seen: dict[str, np.ndarray], psnr: np.ndarray) -> None:
    """Writes the VAE with its scaling factor, and what was measured on held-out images."""
    std = float(np.sqrt(seen["latent_squared"].mean() - seen["latent"].mean() ** 2))
    vae.config = dataclasses.replace(config.model, scaling_factor=1 / std, sample_size=config.data.size)
    folder = Path(config.run) / "vae"
    pretrained.save_autoencoder(vae, folder)
    report = {
        "psnr": float(psnr.mean()),
        "psnr_std": float(psnr.std()),
        "images": len(psnr),
        "latent_std": std,
    }
    (Path(config.run) / "validation.json").write_text(json.dumps(report, indent=2) + "\n")
    print(
        f"{folder}: {report['psnr']:.2f} dB on {len(psnr)} held-out images, latent std {std:.3f}",
        file=sys.stderr,
    )


def check(config: AutoencoderRun, mesh: Mesh) -> None:
    """Raises ValueError for sizes that do not fit, before anything slow."""
    sharding.check_batch_size(config.batch_size, mesh)
    for name, side in (("window.crop", config.window.crop), ("data.size", config.data.size)):
        factor = config.model.factor
        if side is not None and side % factor:
            low = side - side % factor
            raise ValueError(
                f"{name} {side} is not divisible by the VAE's factor {factor}; use {low} or {low + factor}"
            )
    if config.window.crop and config.window.crop > config.data.size:
        raise ValueError(
            f"window.crop {config.window.crop} is larger than the images of {config.data.size} pixels"
        )


def write_pairs(images: np.ndarray, decoded: np.ndarray, path: Path) -> None:
    """A PNG with the uint8 `images` [n, h, w(, 3)] above their reconstructions [n, h, w, 3] in [-1, 1]."""
    above = np.broadcast_to(images[..., None], decoded.shape) if images.ndim == 3 else images
    below = np.round((np.clip(decoded, -1, 1) + 1) * 127.5).astype(np.uint8)
    rows = [np.concatenate(list(row), axis=1) for row in (above, below)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)


if __name__ == "__main__":
    sys.exit(program.run(main, AutoencoderRun))
