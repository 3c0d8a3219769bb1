"""What is measured of translators while they are trained, and of the finished ones: translations of images never seen.

By the classifier that is in the loss: how far training succeeded, and no measure of its counterfactuals.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from prism_jax import sharding
from prism_jax.classifier import Classifier
from prism_jax.pixels import from_uint8
from prism_jax.stats.intervals import BootstrapConfig, bootstrap, proportion
from prism_jax.training import predict
from prism_jax.training.ganterfactual.data import Sides
from prism_jax.training.ganterfactual.step import GanState, Networks, seen
from prism_jax.training.log import Log
from prism_jax.training.loop import Hook
from prism_jax.training.vae.run import write_pairs

NAMES = ("hit", "l1")
WAYS = {"add": False, "remove": True}  # what a generator does: whether the images it is for have the attribute


@dataclasses.dataclass(frozen=True, kw_only=True)
class GANterfactualValidation:
    """Images that training never sees, each translated into the other kind."""

    every: int = 500
    """Steps. 0: only the finished generators."""
    split: Literal["val", "test"] = "val"
    limit: int | None = None
    """Images, the first of the split; None: all."""
    shown: int = 8
    """Images of each kind in samples/, above their translations."""
    intervals: BootstrapConfig = BootstrapConfig(resamples=500)


def predict_fn(
    networks: Networks, attribute: str, batch_size: int, mesh: Mesh
) -> Callable[[Any, Classifier, Sides], dict[str, dict[str, np.ndarray]]]:
    """`see(params, classifier, sides)`: by way, "image" [n, h, w, 1], "hit" [n], whether the classifier calls it what
    it was translated into, and "l1" [n], the mean distance to the untranslated image, in [-1, 1]."""
    everywhere = sharding.replicated(mesh)
    look = jax.jit(
        lambda params, classifier, batch: looked(nnx.merge(networks.generators, params), classifier, batch, attribute),
        in_shardings=(everywhere, everywhere, sharding.batch_sharding(mesh)),
        out_shardings=everywhere,
    )

    def see(params, classifier, sides):
        run = lambda batch: look(params, classifier, batch)
        found = predict.looked_over(run, sides.together(), batch_size, mesh)
        return {way: {name: values[sides.has == has] for name, values in found.items()} for way, has in WAYS.items()}

    return see


def looked(
    generators: nnx.Module, classifier: Classifier, batch: Mapping[str, jax.Array], attribute: str
) -> dict[str, jax.Array]:
    """What `predict_fn` gives, of one batch of both kinds."""
    x, has = from_uint8(batch["image"]), batch["has"]
    images = jnp.where(has[:, None, None, None], generators.remove(x), generators.add(x))
    hit = (seen(classifier, attribute, images) > 0) != has
    return {"image": images, "hit": hit, "l1": jnp.abs(images - x).mean((1, 2, 3))}


def validation(config: Any, see: Callable, classifier: Classifier, held: Sides) -> Hook:
    """Measures `held`. There is no validation loss: nothing here says which generators are best; the last are kept."""

    def call(state: GanState, step: int, log: Log) -> dict[str, float]:
        found = see(state.generators.params, classifier, held)
        if jax.process_index() == 0:
            for way, has in WAYS.items():
                first = slice(0, config.validation.shown)
                above, below = held.images[held.has == has][first, ..., 0], found[way]["image"][first]
                write_pairs(above, np.repeat(below, 3, axis=-1), Path(config.run) / "samples" / f"{step}-{way}.png")
        return {f"validation_{name}_{way}": float(each[name].mean()) for way, each in found.items() for name in NAMES}

    return Hook(every=config.validation.every, call=call)


def measured(found: Mapping[str, Mapping[str, np.ndarray]], held: Sides, config: Any) -> dict[str, dict[str, dict]]:
    """By way: the share of hits, and the mean distance to the untranslated image, with intervals over patients."""
    options, report = config.validation.intervals, {}
    for way, has in WAYS.items():
        patients = held.patients[held.has == has]
        hits = proportion(found[way]["hit"], subjects=patients, level=options.level)
        l1 = bootstrap(np.mean, found[way]["l1"], subjects=patients, config=options)
        report[way] = {"share": dataclasses.asdict(hits), "l1": dataclasses.asdict(l1)}
    return report
