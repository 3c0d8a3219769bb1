"""Seconds and memory of compiling every program, each in a process of its own and without the cache.

    python -m benchmarks.compilation
    python -m benchmarks.compilation --programs null_text finetune --models sd15-random --batch 4 --remat True

Nothing is allocated: weights and images are shapes. Seconds are of the processor, as a machine that does other work
gives the same: of tracing and lowering in Python, and of XLA. Peak memory is that of the whole process (ru_maxrss);
arguments and temporary memory are the program's own. What compiling needs depends on the backend.
"""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import tyro
from flax import nnx

from benchmarks import memory, subjects, tables, training_step
from prism_jax import config as configs
from prism_jax import entrypoint, rng, sharding
from prism_jax.editing.control import Control
from prism_jax.editing.edit import SourcePath, _edit
from prism_jax.editing.inversion import _invert
from prism_jax.flops import TOKENS
from prism_jax.models.hvae import HVAE
from prism_jax.sharding import ShardingConfig
from prism_jax.stable_diffusion import StableDiffusion, _decode, _encode_image, _sample
from prism_jax.training import loop
from prism_jax.training import state as states
from prism_jax.training.image_mechanism import run as image_mechanism_run
from prism_jax.training.optimizer import make_optimizer
from prism_jax.weights import pretrained

HEADER = (
    "program",
    "model",
    "batch",
    "remat",
    "trace s",
    "compile s",
    "peak of compiling GiB",
    "arguments GiB",
    "temporary GiB",
)
SIZES = {subjects.SD15_RANDOM: 512, "phantom": 128}
MECHANISMS = ("mimic_cxr/image_mechanism", "phantom64/image_mechanism")
ALL = ("encode", "decode", "sample", "ddim", "null_text", "direct", "edit_friendly", "edit", "finetune")
RESULT = "result of one program: "


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    programs: tuple[str, ...] = (*ALL, *MECHANISMS)
    """Programs of Stable Diffusion by name, and configs of image mechanisms."""
    models: tuple[str, ...] = ("phantom", subjects.SD15_RANDOM)
    """phantom, sd15-random, or Diffusers folders (of 512 pixels)."""
    batch: int = 1
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: tuple[bool, ...] = (False,)
    """Of programs with a gradient of the UNet."""
    steps: int = 50
    inner_steps: int = 10
    here: bool = False
    """Compile one program in this process, and print the row as JSON; the benchmark starts itself so."""


def main(options: Options) -> None:
    """Prints the table, anew with every row: a compilation may take minutes."""
    if options.here:
        row = measured(options.programs[0], options.models[0], options.remat[0], options)
        print(RESULT + json.dumps(row), flush=True)
        return
    body = []
    for name in options.programs:
        for model in ("",) if name not in ALL else options.models:
            for remat in options.remat if name in ("null_text", "finetune") else (False,):
                cells = [name, model, f"{options.batch}", "on" if remat else "off"]
                body.append([*cells, *apart(name, model, remat, options)])
                print(tables.markdown(HEADER, body), flush=True)


def apart(name: str, model: str, remat: bool, options: Options) -> list[str]:
    """`measured` in a new process, without the compilation cache; "-" where it fails."""
    one = dataclasses.replace(options, programs=(name,), models=(model or "phantom",), remat=(remat,), here=True)
    flags = [f"--batch={one.batch}", f"--dtype={one.dtype}", f"--steps={one.steps}", f"--inner-steps={one.inner_steps}"]
    command = [sys.executable, "-m", "benchmarks.compilation", "--here", "--programs", name, "--models", *one.models]
    command += ["--remat", str(remat), *flags]
    environment = os.environ | {entrypoint.CACHE: ""}
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    rows = [line.removeprefix(RESULT) for line in ended.stdout.splitlines() if line.startswith(RESULT)]
    return json.loads(rows[0]) if rows else ["-"] * 5


def measured(name: str, model: str, remat: bool, options: Options) -> list[str]:
    """Seconds of tracing and of XLA, peak memory of the process, arguments and temporary memory of the program."""
    if name in ALL:
        sd = training_step.abstract(model, jnp.dtype(options.dtype), remat=remat)
        lower = partial(PROGRAMS[name], sd, SIZES.get(model, 512), options)
    else:
        lower = partial(image_mechanism, name, options)
    start = time.process_time()
    lowered = lower()
    traced = time.process_time()
    compiled = lowered.compile()
    seconds = traced - start, time.process_time() - traced
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    used = compiled.memory_analysis()
    sizes = (peak, used.argument_size_in_bytes / 2**30, used.temp_size_in_bytes / 2**30)
    return [*(f"{each:.1f}" for each in seconds), *(f"{size:.2f}" for size in sizes)]


def inversion(method: str, sd: StableDiffusion, size: int, options: Options) -> jax.stages.Lowered:
    """Inversion by one method."""
    side = size // memory.VAE_FACTOR
    arguments = memory.shapes(sd.unet.config, options.batch, side, options.steps)
    return _invert.lower(sd.unet, *arguments[1:], method=method, inner_steps=options.inner_steps, mesh=None)


def edited(sd: StableDiffusion, size: int, options: Options) -> jax.stages.Lowered:
    """One edit of each image, with prompt-to-prompt."""
    b, t, shape = options.batch, options.steps, sd.latent_shape(size, size)
    width = sd.unet.config.cross_attention_dim
    weights = shaped(t, b, 1, TOKENS)
    control = Control(
        mapper=shaped(b, 1, TOKENS, TOKENS),
        source_weight=weights,
        edit_weight=weights,
        replace_self=shaped(t, b, 1, dtype=jnp.bool_),
    )
    table = memory.shapes(sd.unet.config, b, shape[0], t)[-2]
    path = SourcePath(table=table, null_context=shaped(t, b, TOKENS, width), target=None, offset=None)
    rest = shaped(b, 2, TOKENS, width), shaped(b, 2), shaped(b, 1), control, None
    return _edit.lower(sd.unet, shaped(b, *shape), path, *rest, eta=0.0, mesh=None)


def sampled(sd: StableDiffusion, size: int, options: Options) -> jax.stages.Lowered:
    """Images of prompts, by DDIM with guidance."""
    latents = shaped(options.batch, *sd.latent_shape(size, size))
    ids = shaped(options.batch + 1, TOKENS, dtype=jnp.int32)
    networks = sd.unet, sd.text_encoder, sd.schedule
    return _sample.lower(*networks, latents, ids, shaped(), steps=options.steps, sampler="ddim")


def finetuned(sd: StableDiffusion, size: int, options: Options) -> jax.stages.Lowered:
    """A step of fine-tuning with cached latents."""
    mesh, shapes = sharding.make_mesh(jax.devices()[:1]), training_step.shapes(sd, options.batch, size)
    return training_step.lowered(training_step.of(sd), shapes, mesh, ShardingConfig())


def image_mechanism(config: str, options: Options) -> jax.stages.Lowered:
    """A step of training the image mechanism of a config."""
    run = dataclasses.replace(configs.load(config), initial=None, batch_size=options.batch)
    mesh, b, model = sharding.make_mesh(jax.devices()[:1]), options.batch, run.model
    tx, schedule = make_optimizer(run.optimizer, run.loop.steps)
    graphdef, params = nnx.split(pretrained.abstract(HVAE, model))
    update = dict(tx=tx, schedule=schedule, ema_decay=run.ema_decay, skip=run.skip)
    update = partial(states.update, decay=image_mechanism_run.average_decay, **update)
    step = partial(image_mechanism_run.train_step, graphdef=graphdef, config=run, update=update)
    state = jax.eval_shape(partial(states.create, tx=tx, ema=True), params)
    batch = {
        "image": shaped(b, model.size, model.size, model.channels, dtype=jnp.uint8),
        "parents": shaped(b, model.parents),
        "id": shaped(b, dtype=jnp.uint32),
    }
    with jax.set_mesh(mesh):
        jitted = loop.jitted(step, mesh, sharding.place(state, mesh, run.sharding))
        return jitted.lower(state, None, batch, jax.eval_shape(lambda: rng.key(0)))


def shaped(*shape: int, dtype: jnp.dtype = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


PROGRAMS: dict[str, Callable[[StableDiffusion, int, Options], jax.stages.Lowered]] = {
    "encode": lambda sd, size, o: _encode_image.lower(sd.vae, shaped(o.batch, size, size, 3)),
    "decode": lambda sd, size, o: _decode.lower(sd.vae, shaped(o.batch, *sd.latent_shape(size, size))),
    "sample": sampled,
    **{method: partial(inversion, method) for method in ("ddim", "null_text", "direct", "edit_friendly")},
    "edit": edited,
    "finetune": finetuned,
}

if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(lambda: main(tyro.cli(Options, prog="python -m benchmarks.compilation"))))
