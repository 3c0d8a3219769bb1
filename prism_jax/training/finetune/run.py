"""Fine-tunes Stable Diffusion: `prism train finetune --config NAME [--section.option value]`.

The UNet is trained, the VAE is frozen, the text encoder is frozen unless asked otherwise. `prism export` then
writes the averaged weights as a diffusers folder.
"""

import dataclasses
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from prism_jax import flops, sharding
from prism_jax.data.loading.latent_cache import LatentCache, Settings
from prism_jax.data.sources import build
from prism_jax.distributed import DistributedConfig
from prism_jax.sharding import ShardingConfig
from prism_jax.stable_diffusion import StableDiffusion, tokenize
from prism_jax.training import examples, run_folder
from prism_jax.training import state as states
from prism_jax.training.examples import Data
from prism_jax.training.finetune import lora as finetune_lora
from prism_jax.training.finetune import step as finetune_step
from prism_jax.training.finetune import validation as finetune_validation
from prism_jax.training.finetune.encode import encode
from prism_jax.training.finetune.lora import Lora
from prism_jax.training.finetune.step import DenoisingObjective
from prism_jax.training.finetune.validation import EvalContext, FinetuneValidation, Reconstructions, SampleGrid
from prism_jax.training.loop import Batches, LoopConfig, fit
from prism_jax.training.optimizer import OptimizerConfig, make_update
from prism_jax.weights import files, pretrained

NETWORKS = ("unet", "text_encoder")  # the VAE is never trained here


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneRun:
    """Configuration of a fine-tuning run."""

    run: str = "runs/finetune"
    """Run folder."""
    seed: int = 0
    """Seed of all random draws: data order, noise, dropout."""
    model: str = "model"
    """Diffusers folder to start from."""
    data: Data = Data()
    latents: str | None = None
    """Folder of cached latents, written by `prism train encode_latents`. If it does not exist, or for None, images are
    encoded in every step."""
    batch_size: int = 16
    """Images per update, over all devices and accumulation steps."""
    accumulate: int = 1
    """Gradient accumulation steps: the batch is split into this many parts, whose gradients are added."""
    trained: tuple[str, ...] = finetune_lora.UNET
    """Regular expressions over the dotted paths of the parameters to train, for example ^unet\\..*\\.attn2\\."""
    lora: Lora | None = None
    """Train LoRA weights instead of the parameters that `trained` matches."""
    objective: DenoisingObjective = DenoisingObjective()
    dtype: jnp.dtype = jnp.dtype("float32")
    """Compute dtype: bfloat16 on accelerators. Parameters, moments and loss are float32."""
    remat: bool = False
    """Recompute the UNet's layers in the backward pass: less memory, more time."""
    ema_decay: float | None = 0.9999
    """Decay of the exponential moving average of the parameters, which is validated and exported; None: no average."""
    optimizer: OptimizerConfig = OptimizerConfig()
    skip: states.SkipConfig = states.SkipConfig()
    sharding: ShardingConfig = ShardingConfig()
    processes: DistributedConfig = DistributedConfig()
    loop: LoopConfig = LoopConfig()
    validation: FinetuneValidation = FinetuneValidation()
    samples: SampleGrid = SampleGrid()
    reconstructions: Reconstructions = Reconstructions()


def main(config: FinetuneRun) -> None:
    """Trains in the folder `config.run`, from its latest checkpoint if there is one."""
    config.processes.initialize()
    with run_folder.locked(config.run):
        train(config, mesh_of(config))


def mesh_of(config: FinetuneRun) -> Mesh:
    """The devices of a training; each holds weights, gradient, average and two moments."""
    each = config.batch_size // max(1, config.accumulate)
    copied = 5 * files.size_in_bytes(config.model)
    return sharding.make_mesh(fsdp=config.sharding.fsdp, batch_size=each, copied=copied)


def train(config: FinetuneRun, mesh: Mesh) -> states.TrainState:
    """Trains on the devices of `mesh`; returns the last state."""
    check(config, mesh)
    run_folder.check_same_training(config, fixed=("model", "seed", "trained", "lora"))
    sd = StableDiffusion.from_pretrained(config.model, dtype=config.dtype, remat=config.remat)
    sd.tokenize(config.samples.prompts)  # a prompt that is too long fails here, not at the first grid
    tx, update = make_update(config)
    batches, is_encoded = make_batches(config, sd)
    side = sd.latent_shape(config.data.size, config.data.size)[0]
    peak = flops.peak_training_rate(sd.unet.config, side, config.batch_size, mesh.size)
    graphdefs, weights = split(sd)
    initial, fixed, weights_of = trained_part(config, weights)
    placed = sharding.place(initial, mesh, config.sharding)
    frozen = {"networks": fixed, "vae": sd.vae, "schedule": sd.schedule, "no_caption": sd.tokenize([""])[0]}
    context = EvalContext(
        config=config,
        tokenizer=sd.tokenizer,
        graphdefs=graphdefs,
        weights_of=weights_of,
        frozen=sharding.to_global(frozen, sharding.replicated(mesh)),
        mesh=mesh,
    )
    del sd, weights, fixed, frozen  # the device holds the trained weights once, in the state
    validate = finetune_validation.validation(context)
    hooks = (finetune_validation.samples(context), finetune_validation.reconstructions(context))
    step = partial(
        finetune_step.train_step,
        graphdefs=graphdefs,
        weights_of=weights_of,
        objective=config.objective,
        parts=config.accumulate,
        mesh=mesh,
        specs=jax.tree.map(lambda where: where.spec, placed),
        update=update,
    )
    return fit(
        step,
        config,
        create=partial(states.create, tx=tx, ema=config.ema_decay is not None),
        initial=initial,
        frozen=context.frozen,
        batches=batches,
        mesh=mesh,
        prepare=None if is_encoded else partial(encode, objective=config.objective, parts=config.accumulate),
        validate=validate,
        hooks=hooks,
        peak=peak,
    )


def check(config: FinetuneRun, mesh: Mesh) -> None:
    """Raises ValueError for options that do not fit, before anything slow."""
    if config.accumulate < 1 or config.batch_size % config.accumulate:
        raise ValueError(f"batch_size {config.batch_size} does not divide into accumulate {config.accumulate} parts")
    sharding.check_batch_size(config.batch_size // config.accumulate, mesh)
    if config.latents is not None and config.objective.flip:
        raise ValueError(
            f"objective.flip {config.objective.flip} mirrors images, and those in {config.latents} are encoded; "
            "use 0, or --latents None"
        )
    if config.latents is not None and config.data.extra:
        raise ValueError(
            f"a latent cache holds one data set, but data.extra adds {len(config.data.extra)}; use --latents None"
        )
    if config.lora is not None and config.trained != finetune_lora.UNET:
        raise ValueError("trained and lora both select the trained parameters; set only one of them")


def split(sd: StableDiffusion) -> tuple[dict[str, nnx.GraphDef], dict[str, Any]]:
    """Structure and parameters (nested dicts) of the UNet and the text encoder, by name."""
    parts = {name: nnx.split(getattr(sd, name)) for name in NETWORKS}
    graphdefs = {name: graphdef for name, (graphdef, _) in parts.items()}
    return graphdefs, {name: nnx.to_pure_dict(state) for name, (_, state) in parts.items()}


def trained_part(config: FinetuneRun, weights: dict[str, Any]) -> tuple[Any, dict[str, Any], Callable]:
    """Initial trained parameters, on the host; frozen parameters; and the function `(trained, frozen) -> all`."""
    if config.lora is not None:
        initial = finetune_lora.low_rank(weights, config.lora, config.seed)
        return jax.device_get(initial), weights, lambda a, b: finetune_lora.changed(b, a, config.lora.scale)
    initial, fixed = finetune_lora.split(weights, config.trained)
    return jax.device_get(initial), fixed, finetune_lora.merge_dicts


def make_batches(config: FinetuneRun, sd: StableDiffusion) -> tuple[Batches, bool]:
    """The data iterator, and whether its images are encoded already."""
    if config.data.split != "train":
        raise ValueError(f"data.split is {config.data.split!r}; training takes train")
    sd.latent_shape(config.data.size, config.data.size)  # raises for a size that the networks cannot take
    # Not `sd.tokenize`, which would keep the weights of `sd`.
    to_ids = partial(tokenize, sd.tokenizer, length=sd.text_encoder.config.max_position_embeddings)
    options = dict(batch_size=config.batch_size, seed=config.seed)
    is_encoded = config.latents is not None and Path(config.latents).is_dir()
    if is_encoded:
        stream = examples.latent_stream(config.data, cache_of(config, sd).open(), to_ids, **options)
        said = f"training reads the latents in {config.latents}"
    else:
        stream = examples.image_stream(config.data, to_ids, factor=sd.vae.config.factor, **options)
        said = f"no latents in {config.latents}: every batch is encoded anew" if config.latents else ""
    if said and jax.process_index() == 0:
        print(said, file=sys.stderr)
    return stream, is_encoded


def cache_of(config: FinetuneRun, sd: StableDiffusion) -> LatentCache:
    """The latent cache of this model and data in `config.latents`; does not read or write it."""
    data = config.data
    return LatentCache(
        folder=Path(config.latents),
        settings=Settings(
            data=build.digest(data.folder),
            split=data.split,
            count=len(examples.open_split(data)),
            size=data.size,
            fit=data.fit,
            crop=data.crop,
            vae=pretrained.fingerprint(sd.vae),
            dtype=config.dtype.name,
            has_variance=config.objective.sample_posterior,
            shape=sd.latent_shape(data.size, data.size),
        ),
        vae_files=files.fingerprint(Path(config.model) / "vae"),
    )
