"""Seconds per image of the image mechanism: a training step, and a counterfactual.

python -m benchmarks.scm --config configs/mimic_cxr/image_mechanism.py --batch-size 2

The published PyTorch code takes 4.5 s an image for a training step of that size on two CPU cores. A counterfactual is
one abduction and one prediction: an encoder and two decoders. Images are noise: no operation depends on their content.
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import tyro
from flax import nnx

from benchmarks import tables
from prism_jax import config as configs
from prism_jax import entrypoint, flops, rng, sharding
from prism_jax.models.hvae import HVAE
from prism_jax.pixels import from_uint8
from prism_jax.scm import elbo, image_mechanism
from prism_jax.scm.image_mechanism import CounterfactualConfig
from prism_jax.training import loop
from prism_jax.training import state as states
from prism_jax.training.image_mechanism import run as image_mechanism_run
from prism_jax.training.image_mechanism.run import ImageMechanismRun
from prism_jax.training.optimizer import make_update
from prism_jax.weights import pretrained


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    config: str = "configs/mimic_cxr/image_mechanism.py"
    batch_size: int = 2
    repeats: int = 3


def main(options: Options) -> None:
    """Prints a table of both, medians over the repeats after the first call."""
    config = dataclasses.replace(configs.load(options.config), initial=None, batch_size=options.batch_size)
    mesh = sharding.make_mesh()
    sharding.check_batch_size(options.batch_size, mesh)
    step, create, batch, graphdef = training(config, mesh)
    key, state = rng.key(config.seed), create(image_mechanism_run.initial(config))
    batch = sharding.host_batch_to_global(batch, mesh)
    with jax.set_mesh(mesh):
        rows = [timed("training step", step, state, None, batch, key, repeats=options.repeats, carries=True)]
        params = jax.device_put(image_mechanism_run.initial(config), sharding.replicated(mesh))
        rows.append(timed("counterfactual", counterfactual(graphdef), params, batch, key, repeats=options.repeats))
    work = {"training step": 3 * forward(config) / 1e9}
    body = []
    for name, first, median in rows:
        seconds = median / options.batch_size
        rates = [f"{work[name]:.3g}", f"{work[name] / seconds:.3g}"] if name in work else ["", ""]
        body.append([name, f"{options.batch_size}", f"{first:.1f}", f"{seconds:.3g}", *rates])
    print(tables.markdown(("program", "batch", "first call s", "s/image", "GFLOP/image", "GFLOP/s"), body))


def training(
    run: ImageMechanismRun, mesh: jax.sharding.Mesh
) -> tuple[Callable, Callable[[Any], Any], dict[str, np.ndarray], nnx.GraphDef]:
    """The step as the loop compiles it, params -> first state, a batch, and the network without parameters."""
    tx, update = make_update(run, decay=image_mechanism_run.average_decay)
    graphdef, _ = nnx.split(pretrained.abstract(HVAE, run.model))
    made = partial(image_mechanism_run.train_step, graphdef=graphdef, config=run, update=update)
    create = partial(states.create, tx=tx, ema=True)
    where = sharding.place(jax.eval_shape(create, abstract_params(run)), mesh, run.sharding)
    return loop.jitted(made, mesh, where), jax.jit(create, out_shardings=where), noise_batch(run), graphdef


def abstract_params(run: ImageMechanismRun) -> Any:
    """Shapes of the parameters."""
    return nnx.to_pure_dict(nnx.state(pretrained.abstract(HVAE, run.model)))


def noise_batch(run: ImageMechanismRun) -> dict[str, np.ndarray]:
    """Images and parents as the loop hands them to the step."""
    draw, b, side = np.random.default_rng(0), run.batch_size, run.model.size
    return {
        "image": draw.integers(0, 256, (b, side, side, run.model.channels), np.uint8),
        "parents": draw.uniform(-1, 1, (b, run.model.parents)).astype(np.float32),
        "id": np.arange(b, dtype=np.uint32),
    }


def counterfactual(graphdef: nnx.GraphDef) -> Callable:
    """The program of one counterfactual of each image of a batch."""

    def program(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
        model = nnx.merge(graphdef, params)
        config = CounterfactualConfig(effect="direct" if model.config.conditional_prior else "total")
        x, parents, keys = from_uint8(batch["image"]), batch["parents"], rng.per_example(key, batch["id"])
        return image_mechanism.counterfactual(model, x, parents, -parents, keys, config=config).images

    return jax.jit(program)


def forward(run: ImageMechanismRun) -> float:
    """Operations of the negative ELBO of one image, counted by hand."""
    shape = lambda *sides: jax.ShapeDtypeStruct(sides, np.float32)
    model, side = pretrained.abstract(HVAE, run.model), run.model.size
    noise = [shape(1, *latent) for latent in run.model.latent_shapes]
    loss = lambda model, x, parents, noise: elbo.negative_elbo(
        model, x, parents, noise, config=run.objective, beta=run.objective.beta
    )[0]
    return flops.by_hand(loss, (model, shape(1, side, side, run.model.channels), shape(1, run.model.parents), noise))


def timed(name: str, call: Callable, *args: Any, repeats: int, carries: bool = False) -> tuple[str, float, float]:
    """Name, first call and median of the others, in seconds; with `carries` the last call's state is passed on."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        found = jax.block_until_ready(call(*args))
        times.append(time.perf_counter() - start)
        args = (found[0], *args[1:]) if carries else args
    return name, times[0], statistics.median(times[1:])


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(lambda: main(tyro.cli(Options, prog="python -m benchmarks.scm"))))
