"""Ways to shard a training step, compared by device memory and by bytes sent, from compiling alone.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 JAX_PLATFORMS=cpu python -m benchmarks.sharding_schemes

`shard_map`: every device computes the gradient of its own examples with whole parameters; parameters are gathered once
and gradients reduced and scattered once, by hand. `jit`: the step is written for the whole batch, and XLA's partitioner
(GSPMD) inserts the collectives that the shardings of state and batch ask for. `jit, gathered`: the same, but parameters
are constrained to be replicated before their first use.
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx
from jax.sharding import Mesh

from benchmarks import collectives, tables, training_step
from prism_jax import config as configs
from prism_jax import entrypoint, rng, sharding
from prism_jax.flops import TOKENS
from prism_jax.models.densenet import DenseNet, DenseNetConfig
from prism_jax.models.hvae import HVAE
from prism_jax.sharding import ShardingConfig
from prism_jax.training import loop
from prism_jax.training import state as states
from prism_jax.training.classifier.augment import Augmentation
from prism_jax.training.classifier.step import ClassifierObjective, Task
from prism_jax.training.classifier.step import train_step as classifier_step
from prism_jax.training.finetune import lora
from prism_jax.training.finetune import run as finetune_run
from prism_jax.training.finetune.step import DenoisingObjective, example_losses
from prism_jax.training.image_mechanism.run import train_step as image_mechanism_step
from prism_jax.training.optimizer import OptimizerConfig, make_optimizer
from prism_jax.weights import pretrained

HEADER = ["program", "sharding.fsdp", "scheme", "arguments MiB", "temporary MiB", "sent: times, MiB", "compile s"]
CONFIGS = Path(configs.__file__).parent / "configs"
OPTIMIZER = OptimizerConfig(warmup=0, decay="constant")
TX, SCHEDULE = make_optimizer(OPTIMIZER, 1000)
UPDATE = partial(states.update, tx=TX, schedule=SCHEDULE, ema_decay=0.999)
Step = Callable[[Any, Any, Any, Any], Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the compiled programs."""

    programs: tuple[str, ...] = ("finetune", "classifier", "image_mechanism")
    batch: int = 4
    """Images on one device."""
    fsdp: tuple[int, ...] = (1, 8)
    schemes: tuple[str, ...] = ("shard_map", "jit", "jit, gathered")
    min_size: int = 2**10
    """Smaller arrays are replicated; below the default of runs, because these models are small."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A training step without its update, and the shapes of its arguments."""

    step: Callable  # (state, frozen, batch, key, *, update) -> (state, metrics)
    params: Any
    frozen: Any
    batch: Mapping[str, Any]


def main(options: Options) -> None:
    """Prints the table, again with every row."""
    body = []
    for name in options.programs:
        program = PROGRAMS[name](options.batch * len(jax.devices()))
        for fsdp in options.fsdp:
            for scheme in options.schemes:
                config = ShardingConfig(fsdp=fsdp, min_size=options.min_size)
                body.append([name, f"{fsdp}", scheme, *row(program, SCHEMES[scheme], config)])
                print(tables.markdown(HEADER, body), flush=True)


def row(program: Program, make: Callable[[Program, Mesh, Any], Step], config: ShardingConfig) -> list[str]:
    """Bytes of arguments and temporaries on one device, collectives of one step, seconds of compiling."""
    mesh = sharding.make_mesh(fsdp=config.fsdp)
    state = jax.eval_shape(partial(states.create, tx=TX, ema=True), program.params)
    specs = jax.tree.map(lambda placed: placed.spec, sharding.place(program.params, mesh, config))
    step = loop.jitted(make(program, mesh, specs), mesh, sharding.place(state, mesh, config))
    with jax.set_mesh(mesh):
        key = jax.eval_shape(lambda: rng.key(0))
        return collectives.compiled_cells(lambda: step.lower(state, program.frozen, program.batch, key))


def partitioned(program: Program, mesh: Mesh, specs: Any) -> Step:
    """The step as it is written, for the whole batch."""
    return partial(program.step, update=UPDATE)


def by_hand(program: Program, mesh: Mesh, specs: Any) -> Step:
    """Each device's gradient of its own examples, reduced and scattered; losses that are means over the batch."""
    keep = lambda state, loss, grads: (grads, {})

    def own_part(params: Any, rest: Any, frozen: Any, batch: Any, key: Any) -> tuple[Any, Any]:
        state = rest.replace(params=sharding.all_gather_params(params, specs))
        grads, metrics = program.step(state, frozen, batch, key, update=keep)
        mean = lambda tree: jax.tree.map(lambda x: x / mesh.size, tree)
        return mean(sharding.reduce_scatter_grads(grads, specs)), mean(jax.lax.psum(metrics, sharding.AXES))

    def step(state: Any, frozen: Any, batch: Any, key: Any) -> Any:
        inputs = (specs, sharding.REPLICATED, sharding.REPLICATED, sharding.BATCH, sharding.REPLICATED)
        on_each = sharding.shard_map_over_batch(own_part, mesh, inputs, (specs, sharding.REPLICATED))
        rest = state.replace(params=None, opt_state=None, ema=None)
        grads, metrics = on_each(state.params, rest, frozen, batch, key)
        state, updated = UPDATE(state, metrics["loss"], grads)
        return state, {**metrics, **updated}

    return step


def gathered(program: Program, mesh: Mesh, specs: Any) -> Step:
    """The step as it is written, its parameters gathered before it."""
    return sharding.gather_params_first(partitioned(program, mesh, specs), mesh)


SCHEMES = {"shard_map": by_hand, "jit": partitioned, "jit, gathered": gathered}


def finetune(batch: int) -> Program:
    """The shipped phantom model at 128 pixels, its loss over a whole batch."""
    sd = training_step.abstract("phantom", jnp.float32, remat=False)
    graphdefs, weights = finetune_run.split(sd)
    params, fixed = lora.split(weights, lora.UNET)
    frozen = {"networks": fixed, "schedule": sd.schedule, "no_caption": np.zeros(TOKENS, np.int32)}

    def step(state, frozen, batch, key, *, update):
        keys = lambda name: rng.per_example(rng.at_step(rng.stream(key, name), state.step), batch["id"])

        def loss_of(params):
            weights = lora.merge_dicts(params, frozen["networks"])
            networks = {name: nnx.merge(graphdefs[name], weights[name]) for name in graphdefs}
            losses, _ = example_losses(networks, frozen, batch, keys, DenoisingObjective())
            return jnp.sum(losses * batch["weight"]) / jnp.sum(batch["weight"])

        loss, grads = jax.value_and_grad(loss_of)(state.params)
        state, updated = update(state, loss, grads)
        return state, {"loss": loss, **updated}

    arrays = training_step.shapes(sd, batch, sd.size)
    return Program(step=step, params=_shapes(params), frozen=_shapes(frozen), batch=arrays)


def classifier(batch: int) -> Program:
    """The classifier of the phantom's configuration, images of 128 pixels, two findings."""
    config = dataclasses.replace(DenseNetConfig.small(), num_classes=2)
    graphdef, params = nnx.split(pretrained.abstract(DenseNet, config))
    task = Task(size=128, targets=("effusion", "pacemaker"), age_scale=None, positive_weights=np.ones(2, np.float32))
    options = dict(graphdef=graphdef, task=task, objective=ClassifierObjective(), augmentation=Augmentation())
    frozen = {"positive": task.positive_weights, "age": np.zeros(2, np.float32)}
    columns = {"labels": (2,), "age": (), "weight": ()}
    arrays = {name: jax.ShapeDtypeStruct((batch, *shape), jnp.float32) for name, shape in columns.items()}
    arrays["image"] = jax.ShapeDtypeStruct((batch, 128, 128, 1), jnp.float32)
    arrays["id"] = jax.ShapeDtypeStruct((batch,), jnp.uint32)
    params = _shapes(nnx.to_pure_dict(params))
    return Program(step=partial(classifier_step, **options), params=params, frozen=_shapes(frozen), batch=arrays)


def image_mechanism(batch: int) -> Program:
    """The image mechanism of the phantom at 64 pixels."""
    config = configs.load(CONFIGS / "phantom64" / "image_mechanism.py")
    graphdef, params = nnx.split(pretrained.abstract(HVAE, config.model))
    shape = (batch, config.model.size, config.model.size, config.model.channels)
    arrays = {
        "image": jax.ShapeDtypeStruct(shape, jnp.uint8),
        "parents": jax.ShapeDtypeStruct((batch, config.model.parents), jnp.float32),
        "id": jax.ShapeDtypeStruct((batch,), jnp.uint32),
    }
    step = partial(image_mechanism_step, graphdef=graphdef, config=config)
    return Program(step=step, params=_shapes(nnx.to_pure_dict(params)), frozen=None, batch=arrays)


PROGRAMS = {"finetune": finetune, "classifier": classifier, "image_mechanism": image_mechanism}


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(lambda: main(tyro.cli(Options, prog="python -m benchmarks.sharding_schemes"))))
