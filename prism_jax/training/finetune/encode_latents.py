"""Encodes a data set once, for training: `prism train encode_latents --config NAME`, a configuration of train.finetune.

Writes the folder `latents` of the configuration, shard by shard. A stopped run resumes where it was. Several processes
split the shards between them without communicating: `--processes.count N --processes.index I`.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from prism_jax import rng, sharding
from prism_jax.data.loading import pipeline
from prism_jax.data.loading.latent_cache import row_of
from prism_jax.data.schema import Example
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.training import examples, run_folder
from prism_jax.training.finetune import run as finetune_run
from prism_jax.training.finetune.encode import encode
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.weights import files


def main(config: FinetuneRun) -> None:
    """Encodes the images that are not in the cache yet."""
    if config.latents is None:
        raise ValueError("latents is None; say where they go: --latents FOLDER")
    processes = config.processes.initialize()
    mesh = sharding.make_mesh(
        jax.local_devices(), batch_size=config.batch_size, copied=files.size_in_bytes(config.model)
    )
    finetune_run.check(config, mesh)
    sd = StableDiffusion.from_pretrained(config.model, dtype=config.dtype)
    cache = finetune_run.cache_of(config, sd)
    items = examples.open_split(config.data)
    cache.begin()
    size, count = cache.settings.shard, cache.settings.count
    mine = range(processes.index, cache.shards, processes.count)
    parts = {i: examples.Rows(items, range(i * size, min((i + 1) * size, count))) for i in mine}
    left = {i: part for i, part in parts.items() if not cache.is_done(i)}
    total = sum(map(len, parts.values()))
    bar = tqdm(total=total, initial=total - sum(map(len, left.values())), unit="image", mininterval=5, desc="encoding")
    to_latents = encoder(config, sd, mesh)
    with bar, jax.set_mesh(mesh):
        for i, part in left.items():
            latents, rows = zip(*encoded(part, config, sd, to_latents), strict=True)
            cache.write(i, latents, rows)
            bar.update(len(part))
    if cache.is_complete:
        run_folder.announce(cache.folder, f"latents of {count} images")
    else:
        print("this process is done; the last one to end completes the cache", file=sys.stderr)


def encoder(config: FinetuneRun, sd: StableDiffusion, mesh: Mesh) -> Callable[[np.ndarray], np.ndarray]:
    """float32 images [b, h, w, 1] -> float16 latents [b, h/8, w/8, c], with log-variances behind where kept."""
    everywhere, over_batch = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    program = jax.jit(partial(encode, objective=config.objective, parts=1), out_shardings=over_batch)
    given = jax.device_put(({"vae": sd.vae}, rng.key(config.seed), np.int32(0)), everywhere)

    def to_latents(images: np.ndarray) -> np.ndarray:
        frozen, key, step = given
        encoded = jax.device_get(program(frozen, {"image": jax.device_put(images, over_batch)}, key, step))
        return np.concatenate([encoded[name] for name in ("latents", "logvar") if name in encoded], axis=-1)

    return to_latents


def encoded(
    items: Sequence[Example], config: FinetuneRun, sd: StableDiffusion, to_latents: Callable[[np.ndarray], np.ndarray]
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Latents and row of every item, in order; images are decoded in threads beside."""
    data = config.data
    options = dict(size=data.size, fit=data.fit, crop=data.crop, factor=sd.vae.config.factor)
    for batch in pipeline.batches(items, config.batch_size // config.accumulate, **options):
        latents = to_latents(batch["image"][..., :1])
        for i in np.flatnonzero(batch["mask"]):
            yield latents[i], row_of(int(batch["id"][i]), batch["attributes"][i], str(batch["text"][i]))
