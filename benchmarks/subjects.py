"""Subjects of the benchmarks: a model from a folder or of SD 1.5's size, and images with one edit each."""

import csv
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from PIL import Image

from prism_jax import sharding
from prism_jax.cli.attention_paths import Networks
from prism_jax.data import phantom
from prism_jax.data.captions import phrases
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.schema import Attributes
from prism_jax.data.sources.phantom import FIRST_SUBJECT, attributes_of
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.editing import Edit
from prism_jax.models.autoencoder import AutoencoderKL
from prism_jax.models.text_encoder import CLIPTextModel
from prism_jax.models.unet import UNet2DCondition
from prism_jax.pretrained import folder as pretrained_folder
from prism_jax.stable_diffusion import StableDiffusion, load_tokenizer
from prism_jax.weights import pretrained

SD15_RANDOM = "sd15-random"  # in place of a folder: the networks of SD 1.5 with random weights, no download
SMALLEST = 64  # pixels, of a phantom that only its caption is wanted of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A batch of images, and one edit of each."""

    latents: jax.Array  # [b, h, w, c]
    prompts: tuple[str, ...]
    edits: tuple[tuple[Edit, ...], ...]  # [b][1]


def load(model: str, dtype: jnp.dtype, *, remat: bool = False) -> StableDiffusion:
    """The model in the folder `model`, or one for "sd15-random"."""
    if model == SD15_RANDOM:
        return with_networks(Networks(), dtype, untrained, remat=remat)
    return StableDiffusion.from_pretrained(model, dtype=dtype, remat=remat)


def abstract(model: str, dtype: jnp.dtype, *, remat: bool = False) -> StableDiffusion:
    """The same without weights: networks of shapes."""
    if model == SD15_RANDOM:
        return with_networks(Networks(), dtype, pretrained.abstract, remat=remat)
    networks = Networks.of(pretrained_folder(model))
    return with_networks(networks, dtype, pretrained.abstract, remat=remat, folder=model)


def with_networks(
    networks: Networks,
    dtype: jnp.dtype,
    make: Callable[[type, Any], nnx.Module],
    *,
    remat: bool = False,
    folder: str = "phantom",
) -> StableDiffusion:
    """Networks that `untrained` or `pretrained.abstract` makes, with the tokenizer and schedule of a folder."""
    folder = pretrained_folder(folder)
    schedule = pretrained.read_json(folder / "scheduler" / "scheduler_config.json")
    return StableDiffusion(
        unet=make(UNet2DCondition, dataclasses.replace(networks.unet, dtype=dtype, remat=remat)),
        vae=make(AutoencoderKL, dataclasses.replace(networks.vae, dtype=dtype)),
        text_encoder=make(CLIPTextModel, dataclasses.replace(networks.text_encoder, dtype=dtype)),
        tokenizer=load_tokenizer(folder / "tokenizer"),
        schedule=NoiseSchedule.create(ScheduleConfig.from_dict(schedule)),
    )


def mesh(batch: int) -> Mesh | None:
    """The CPU cores that the batch divides over; None for one device, as of accelerators, of which PyTorch uses one."""
    return sharding.local_mesh(batch) if jax.default_backend() == "cpu" else None


def untrained(network: type, config: Any) -> nnx.Module:
    """A network whose weights are random and keep activations near one."""
    graphdef, state = nnx.split(pretrained.abstract(network, config))
    nnx.replace_by_pure_dict(state, drawn_params(nnx.to_pure_dict(state)))
    return nnx.merge(graphdef, state)


def drawn_params(shapes: Any) -> Any:
    """Such weights, of these shapes. Drawn with NumPy: JAX compiles every shape."""
    random = np.random.default_rng(0)

    def draw(path: tuple, leaf: Any) -> jax.Array:
        name = path[-1].key
        value = np.full(leaf.shape, name == "scale", np.float32)
        if name not in ("scale", "bias"):
            fan_in = np.prod(leaf.shape[:-1])
            value = random.standard_normal(leaf.shape, np.float32) / np.float32(np.sqrt(fan_in))
        return jnp.asarray(value)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def case(sd: StableDiffusion, batch: int, *, size: int, is_drawn: bool = True) -> Case:
    """`batch` different phantoms of `size` pixels whose pacemaker is added or removed.

    With `is_drawn` off the latents are noise, for networks without meaning.
    """
    _, images, facts = phantoms("test", batch, size if is_drawn else SMALLEST)
    shape = (batch, *sd.latent_shape(size, size))
    noise = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))
    opposite = [{"pacemaker": not fact.findings["pacemaker"]} for fact in facts]
    return Case(
        latents=_encoded(sd, images) if is_drawn else noise,
        prompts=tuple(map(PLAIN.describe, facts)),
        edits=tuple(
            (Edit(prompt=PLAIN.describe(phrases.changed(*pair))),) for pair in zip(facts, opposite, strict=True)
        ),
    )


def phantoms(split: str, batch: int, size: int) -> tuple[np.ndarray, np.ndarray, list[Attributes]]:
    """Numbers, images (uint8 [b, h, w]) and attributes of the first phantoms of a split."""
    numbers = FIRST_SUBJECT[split] + np.arange(batch)
    drawn = phantom.generate(numbers, size=size)
    rows = [{name: column[i] for name, column in drawn.attributes.items()} for i in range(batch)]
    return numbers, drawn.images, [attributes_of(row) for row in rows]


def write_images(folder: Path, count: int, size: int, *, damaged: int | None = None) -> None:
    """Phantoms as JPEG files with an `images.csv` of captions; the file of number `damaged` is cut short."""
    folder.mkdir(parents=True)
    _, images, attributes = phantoms("test", count, size)
    with (folder / "images.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("id", "path", "prompt"))
        for i, (image, facts) in enumerate(zip(images, attributes, strict=True)):
            encoded = io.BytesIO()
            Image.fromarray(image).save(encoded, "JPEG", quality=95)
            whole = encoded.getvalue()
            (folder / f"{i}.jpg").write_bytes(whole[: len(whole) // 2] if i == damaged else whole)
            lines.writerow((i, f"{i}.jpg", PLAIN.describe(facts)))


def _encoded(sd: StableDiffusion, images: np.ndarray) -> jax.Array:
    """Latents of grayscale uint8 `images [b, h, w]`, one by one: a single program for all batches."""
    scaled = jnp.asarray(images, jnp.float32) / 127.5 - 1
    return jnp.concatenate([sd.encode_image(jnp.stack([image] * 3, -1)[None]) for image in scaled])
