"""Seconds per image of the image mechanism: a training step, and a counterfactual.

python -m benchmarks.scm --config configs/mimic_cxr/image_mechanism.py --batch-size 2

The published PyTorch code takes 4.5 s an image for a training step of that size on two CPU cores. A counterfactual is
one abduction and one prediction: an encoder and two decoders. Images are noise: no operation depends on their content.
"""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import jax
import tyro
from flax import nnx

from benchmarks import tables, timing, training_step
from benchmarks.training_step import Training
from prism_jax import config as configs
from prism_jax import entrypoint, flops, rng, sharding
from prism_jax.models.hvae import HVAE
from prism_jax.pixels import from_uint8
from prism_jax.scm import image_mechanism
from prism_jax.scm.image_mechanism import CounterfactualConfig
from prism_jax.training.image_mechanism import run as image_mechanism_run
from prism_jax.training.image_mechanism.run import ImageMechanismRun
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
    made = training_step.image_mechanism(config, mesh)
    params = image_mechanism_run.initial(config)
    ours = Training(dataclasses.replace(made, params=params))
    params = jax.device_put(params, sharding.replicated(mesh))
    program, key = counterfactual(config), rng.key(config.seed)
    runs = {
        "training step": lambda: (ours.seconds(1),),
        "counterfactual": lambda: (flops.seconds(program, params, ours.batch, key),),
    }
    facts = dict(setting=options.config, batch=options.batch_size, images=options.batch_size, remat=False)
    work = {"training step": training_step.operations(config) / 1e9}
    body = []
    for row in timing.alternated(runs, options.repeats, **facts):
        (seconds,), name = row.per_image, row.program
        rates = [f"{work[name]:.3g}", f"{work[name] / seconds:.3g}"] if name in work else ["", ""]
        body.append([name, f"{row.batch}", f"{row.first:.1f}", f"{seconds:.3g}", *rates])
    print(tables.markdown(("program", "batch", "first call s", "s/image", "GFLOP/image", "GFLOP/s"), body))


def counterfactual(run: ImageMechanismRun) -> Callable:
    """The program of one counterfactual of each image of a batch."""
    graphdef, _ = nnx.split(pretrained.abstract(HVAE, run.model))

    def program(params: Any, batch: dict[str, jax.Array], key: jax.Array) -> jax.Array:
        model = nnx.merge(graphdef, params)
        config = CounterfactualConfig(effect="direct" if model.config.conditional_prior else "total")
        x, parents, keys = from_uint8(batch["image"]), batch["parents"], rng.per_example(key, batch["id"])
        return image_mechanism.counterfactual(model, x, parents, -parents, keys, config=config).images

    return jax.jit(program)


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(lambda: main(tyro.cli(Options, prog="python -m benchmarks.scm"))))
