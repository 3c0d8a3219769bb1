"""Validation of the image mechanism: the free energy of held-out images."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from prism_jax import rng, sharding
from prism_jax.checkpoint import VALIDATION_LOSS
from prism_jax.pixels import from_uint8
from prism_jax.scm import elbo, image_mechanism
from prism_jax.scm.observed import Observed
from prism_jax.training import state as states
from prism_jax.training.log import Log
from prism_jax.training.loop import Hook
from prism_jax.training.predict import predict_over_mesh
from prism_jax.training.sample_images import write_pairs


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageMechanismValidation:
    """Free energy under the averaged weights, and sample sheets: images above their reconstructions."""

    every: int = 1000
    """Steps between validations; must divide loop.checkpoint_every. 0: never."""
    split: Literal["val", "test"] = "val"
    limit: int = 512
    """Number of validation images, the first of the split."""
    shown: int = 8


def validation(config: Any, graphdef: nnx.GraphDef, held: Observed, mesh: Mesh) -> Hook:
    """Measures nll, KL and free energy (the validation loss, without warm-up and free bits) of `held`."""
    predict = predict_fn(config, graphdef, mesh)

    def call(state: states.TrainState, step: int, log: Log) -> dict[str, float]:
        predictions = predict(states.averaged_params(state), held)
        nll, kl = float(predictions["nll"].mean()), float(predictions["kl"].mean())
        write_pairs(held.images, predictions["image"], config.run, step, count=config.validation.shown)
        return {VALIDATION_LOSS: nll + config.objective.beta * kl, "validation_nll": nll, "validation_kl": kl}

    return Hook(every=config.validation.every, call=call)


def predict_fn(config: Any, graphdef: nnx.GraphDef, mesh: Mesh) -> Callable[[Any, Observed], dict[str, np.ndarray]]:
    """`predict(params, data)`: "nll" and "kl" [n], nats per dimension, and "image" [n, h, w, 1] in [-1, 1].

    An example's noise depends on its id alone: it is the same at every step.
    """

    def forward(params: Any, root: jax.Array, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        model, x, keys = nnx.merge(graphdef, params), from_uint8(batch["image"]), rng.per_example(root, batch["id"])
        descent = model.infer(x, batch["parents"], elbo.draw(model.config, keys))
        uniform = elbo.dequantised(model.config, keys, x)
        return {
            "nll": elbo.negative_log_likelihood(model, descent.state, x, uniform),
            "kl": elbo.divergence(descent, x[0].size)[0],
            "image": image_mechanism.point(model, descent.state)[0],
        }

    predict, root = predict_over_mesh(forward, config.batch_size, mesh), held_key(config.seed, mesh)
    return lambda params, data: predict(params, root, data.arrays())


def held_key(seed: int, mesh: Mesh) -> jax.Array:
    """The key of the validation noise; an argument of the compiled program, so that another seed does not recompile
    it."""
    return jax.jit(lambda: rng.stream(rng.key(seed), "held"), out_shardings=sharding.replicated(mesh))()
