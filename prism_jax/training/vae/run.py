"""Trains the VAE: `prism train vae --config NAME [--section.option value ...]`.

The run folder gets, besides what every run has, `vae/`: a diffusers folder with the averaged weights and the
scaling factor that gives the latents of the training images unit variance (arXiv 2112.10752, appendix G).
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from prism_jax import rng, sharding
from prism_jax.distributed import DistributedConfig
from prism_jax.metrics.image import psnr
from prism_jax.models.autoencoder import AutoencoderConfig, AutoencoderKL
from prism_jax.pixels import grey_levels
from prism_jax.training import examples, run_folder
from prism_jax.training import state as states
from prism_jax.training.array_batches import ArrayBatches
from prism_jax.training.examples import Data
from prism_jax.training.log import Log
from prism_jax.training.loop import Hook, LoopConfig, fit
from prism_jax.training.optimizer import OptimizerConfig, make_update
from prism_jax.training.predict import predict_over_mesh
from prism_jax.training.sample_images import write_pairs
from prism_jax.training.vae.loss import ReconstructionLoss, Window, augment, reconstruction_loss, to_float
from prism_jax.weights import pretrained

SHOWN = 8  # held-out images above their reconstructions
NUM_STATS_IMAGES = 4096  # training images used to estimate the latents' standard deviation


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAEValidation:
    """Reconstruction of held-out images."""

    every: int = 2000
    """Steps between validations."""
    split: Literal["val", "test"] = "val"
    limit: int = 256
    """Number of validation images, the first of the split."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VAERun:
    """Everything a run of this program depends on."""

    run: str = "runs/autoencoder"
    """Run folder."""
    seed: int = 0
    """Seed of all random draws."""
    start: str | None = None
    """Folder of a trained VAE to start from; its configuration replaces `model`."""
    model: AutoencoderConfig = AutoencoderConfig()
    data: Data = Data()
    validation: VAEValidation = VAEValidation()
    window: Window = Window()
    loss: ReconstructionLoss = ReconstructionLoss()
    optimizer: OptimizerConfig = OptimizerConfig(peak=1e-3)
    loop: LoopConfig = LoopConfig()
    batch_size: int = 16
    """Images per update, over all devices."""
    ema_decay: float | None = 0.999
    """Decay of the exponential moving average of the parameters; None: no average."""
    sample_every: int = 1000
    """Steps between sheets of held-out images and their reconstructions."""
    processes: DistributedConfig = DistributedConfig()


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
        return reconstruction_loss(vae.decode(mean + jnp.exp(0.5 * logvar) * noise), images, mean, logvar, config.loss)

    (loss, metrics), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    state, updated = update(state, loss, grads)
    return state, {"loss": loss, **metrics, **updated}


def evaluate(vae: AutoencoderKL, images: jax.Array) -> dict[str, jax.Array]:
    """Reconstruction "image" of each uint8 image [b, h, w(, 3)], its "psnr" [b] (dB, of 8-bit images), and moments of
    the latents."""
    images = to_float(images)
    mean, logvar = vae.encode(images)
    decoded = vae.decode(mean)
    over = (1, 2, 3)
    return {
        "psnr": psnr(grey_levels(decoded), grey_levels(images), value_range=(0, 255)),
        "latent": jnp.mean(mean, over),
        "latent_squared": jnp.mean(mean**2 + jnp.exp(logvar), over),
        "image": decoded,
    }


def main(config: VAERun) -> None:
    """Trains, then writes `vae/` and `validation.json` into the run folder."""
    config.processes.initialize()
    with run_folder.locked(config.run):
        train(config, sharding.make_mesh(batch_size=config.batch_size))


def train(config: VAERun, mesh: Mesh) -> None:
    """Trains on the devices of `mesh`, then measures and writes the autoencoder."""
    config, given = starting_point(config)
    check(config, mesh)
    held = dataclasses.replace(config.data, split=config.validation.split, limit=config.validation.limit)
    data, held_out = (examples.load(part, factor=config.model.factor) for part in (config.data, held))
    tx, update = make_update(config)
    graphdef, _ = nnx.split(pretrained.abstract(AutoencoderKL, config.model))
    forward = lambda params, images: evaluate(nnx.merge(graphdef, params), images)
    predict = predict_over_mesh(forward, config.batch_size, mesh)
    fresh = lambda: states.untrained(AutoencoderKL, config.model, config.seed)
    ema = config.ema_decay is not None
    state = fit(
        partial(train_step, graphdef=graphdef, config=config, update=update),
        config,
        create=lambda given: states.create(fresh() if given is None else given, tx, ema=ema),
        initial=given,
        frozen=None,
        batches=ArrayBatches({"image": data.images, "id": data.ids}, batch_size=config.batch_size, seed=config.seed),
        mesh=mesh,
        hooks=hooks(config, predict, held_out.images),
    )
    params = states.averaged_params(state)
    finish(
        config,
        nnx.merge(graphdef, params),
        predict(params, data.images[:NUM_STATS_IMAGES]),
        predict(params, held_out.images)["psnr"],
    )


def starting_point(config: VAERun) -> tuple[VAERun, Any]:
    """The configuration with the `model` it starts from, and that model's parameters; None for fresh ones."""
    if config.start is None:
        return config, None
    vae = pretrained.load(AutoencoderKL, config.start, dtype=config.model.dtype)
    return dataclasses.replace(config, model=vae.config), nnx.to_pure_dict(nnx.state(vae))


def hooks(config: VAERun, predict: Callable, held_out: np.ndarray) -> tuple[Hook, Hook]:
    """Hooks: validation PSNR into metrics.jsonl, and a sheet of held-out images and their reconstructions."""

    def validate(state: states.TrainState, step: int, log: Log) -> dict[str, float]:
        return {"validation_psnr": predict(states.averaged_params(state), held_out)["psnr"].mean()}

    def draw(state: states.TrainState, step: int, log: Log) -> None:
        decoded = predict(states.averaged_params(state), held_out[:SHOWN])["image"]  # by all processes together
        write_pairs(held_out, decoded, config.run, step, count=SHOWN)

    return Hook(every=config.validation.every, call=validate), Hook(every=config.sample_every, call=draw)


def finish(config: VAERun, vae: AutoencoderKL, statistics: dict[str, np.ndarray], psnr: np.ndarray) -> None:
    """Writes the VAE with its scaling factor, and its metrics on held-out images (process 0 only)."""
    if jax.process_index() != 0:
        return
    std = float(np.sqrt(statistics["latent_squared"].mean() - statistics["latent"].mean() ** 2))
    vae.config = dataclasses.replace(config.model, scaling_factor=1 / std, sample_size=config.data.size)
    folder = Path(config.run) / "vae"
    pretrained.save(vae, folder)
    report = {
        "psnr": float(psnr.mean()),
        "psnr_std": float(psnr.std()),
        "images": len(psnr),
        "latent_std": std,
    }
    pretrained.write_json(report, Path(config.run) / "validation.json")
    summary = f"PSNR {report['psnr']:.2f} dB on {len(psnr)} held-out images, latent std {std:.3f}"
    run_folder.announce(folder, summary)


def check(config: VAERun, mesh: Mesh) -> None:
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
        raise ValueError(f"window.crop {config.window.crop} is larger than the images of {config.data.size} pixels")
    run_folder.check_same_training(config, fixed=("seed", "start", "model"))
