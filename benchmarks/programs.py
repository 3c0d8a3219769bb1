"""Every program of Stable Diffusion and every training step, from shapes alone: nothing is allocated."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from benchmarks import training_step
from benchmarks.training_step import TrainingStep
from prism_jax import rng, sharding, stable_diffusion
from prism_jax.diffusion import ddim
from prism_jax.editing import inversion as inversions
from prism_jax.editing.control import Control
from prism_jax.editing.edit import SourcePath, _edit
from prism_jax.editing.inversion import METHODS, SOURCE_LOCKED, _invert, eta_of
from prism_jax.flops import TOKENS
from prism_jax.stable_diffusion import StableDiffusion


class Program(NamedTuple):
    """A jitted function, and the shapes of its arguments."""

    function: Any
    args: tuple
    static: Mapping[str, Any] = {}
    mesh: Mesh | None = None

    def lower(self) -> jax.stages.Lowered:
        with contextlib.nullcontext() if self.mesh is None else jax.set_mesh(self.mesh):
            return self.function.lower(*self.args, **self.static)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """The model, whose networks may be shapes, and what else decides the shapes of its programs."""

    sd: StableDiffusion
    batch: int
    size: int
    """Side in pixels."""
    steps: int
    inner_steps: int
    accumulate: int = 1
    """Parts in which fine-tuning takes a batch."""


def compiled(program: Program, clock: Callable[[], float]) -> tuple[jax.stages.Compiled, dict[str, float]]:
    """The program compiled; its seconds of tracing and of XLA by `clock`, and the bytes that it needs on a device."""
    start = clock()
    lowered = program.lower()
    traced = clock()
    made = lowered.compile()
    found = {"trace": traced - start, "compile": clock() - traced}
    memory = made.memory_analysis()
    found |= {"arguments": memory.argument_size_in_bytes, "temporary": memory.temp_size_in_bytes}
    return made, found | {"peak": getattr(memory, "peak_memory_in_bytes", 0)}


def encode(setting: Setting) -> Program:
    images = shaped(setting.batch, setting.size, setting.size, 3)
    return Program(stable_diffusion._encode_image, (setting.sd.vae, images))


def decode(setting: Setting) -> Program:
    return Program(stable_diffusion._decode, (setting.sd.vae, _latents(setting)))


def sample(setting: Setting) -> Program:
    """Images of prompts, by DDIM with guidance, without decoding."""
    ids, networks = shaped(setting.batch + 1, TOKENS, dtype=jnp.int32), (setting.sd.unet, setting.sd.text_encoder)
    args = (*networks, setting.sd.schedule, _latents(setting), ids, shaped())
    return Program(stable_diffusion._sample, args, dict(steps=setting.steps, sampler="ddim"))


def inversion(method: str, setting: Setting) -> Program:
    """The inversion of `editing.invert`."""
    key = jax.eval_shape(lambda: rng.key(0))
    options = inversions.Options(guidance=shaped(), tolerance=shaped(), key=key)
    table = ddim.ddim_table(setting.sd.schedule, setting.steps)
    args = (setting.sd.unet, _latents(setting), _context(setting, setting.batch), _context(setting, 1), table, options)
    return Program(_invert, args, dict(method=method, inner_steps=setting.inner_steps, mesh=None))


def edit(method: str, setting: Setting) -> Program:
    """`editing.edit` with one edit of each image, after `method`."""
    b, t, latents = setting.batch, setting.steps, _latents(setting)
    locked = shaped(t, *latents.shape) if method in SOURCE_LOCKED else None
    weights = shaped(t, b, 1, TOKENS)
    control = Control(
        mapper=shaped(b, 1, TOKENS, TOKENS),
        source_weight=weights,
        edit_weight=weights,
        replace_self=shaped(t, b, 1, dtype=jnp.bool_),
    )
    table = ddim.ddim_table(setting.sd.schedule, t)
    path = SourcePath(table=table, null_context=_context(setting, t, b), target=locked, offset=locked)
    args = (setting.sd.unet, latents, path, _context(setting, b, 2), shaped(b, 2), shaped(b, 1), control, None)
    return Program(_edit, args, dict(eta=eta_of(method), mesh=None))


def finetune(setting: Setting, **placement: Any) -> Program:
    """A step of fine-tuning with cached latents."""
    batch = training_step.inputs(setting.sd, setting.batch, setting.size, is_encoded=True)
    return of_step(training_step.finetuning(setting.sd, batch, accumulate=setting.accumulate, **placement))


def of_step(made: TrainingStep) -> Program:
    """With shardings, and without the weak types of `eval_shape`, as arrays are: else it is another program."""
    state, everywhere = jax.eval_shape(made.create, made.params), sharding.replicated(made.mesh)
    put = lambda tree, at: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), tree)
    state = jax.tree.map(put, state, made.where)
    batch = put(dict(made.batch), sharding.batch_sharding(made.mesh))
    args = (state, put(made.frozen, everywhere), batch, put(jax.eval_shape(lambda: rng.key(0)), everywhere))
    return Program(made.function, args, mesh=made.mesh)


def shaped(*shape: int, dtype: jnp.dtype = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def _latents(setting: Setting) -> jax.ShapeDtypeStruct:
    return shaped(setting.batch, *setting.sd.latent_shape(setting.size, setting.size))


def _context(setting: Setting, *batch: int) -> jax.ShapeDtypeStruct:
    return shaped(*batch, TOKENS, setting.sd.unet.config.cross_attention_dim)


def edit_name(method: str) -> str:
    """Edits differ by whether and how the source is locked alone."""
    return f"edit, {method}" if method in SOURCE_LOCKED else "edit"


OF_MODEL: dict[str, Callable[[Setting], Program]] = {
    "encode": encode,
    "decode": decode,
    "sample": sample,
    **{method: partial(inversion, method) for method in METHODS},
    **{edit_name(method): partial(edit, method) for method in METHODS},
    "finetune": finetune,
}
