"""Fits the attribute mechanisms of a causal graph: `prism train mechanisms --config NAME ...`.

The run folder gets `model/` (the graph and its parameters, read by `scm.folder.load`), `metrics.jsonl`, and
`validation.json`: the negative log-likelihood of each attribute for held-out subjects in nats, and on phantoms its gap
to the true equations.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from prism_jax import config as configs
from prism_jax.data.phantom.equations import Equations
from prism_jax.data.sources import morphomnist
from prism_jax.scm import folder, graphs, observations, phantom_truth
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.fitting import FitConfig, fit
from prism_jax.scm.graph import Graph
from prism_jax.stats.intervals import BootstrapConfig, bootstrap
from prism_jax.training import examples, run_folder
from prism_jax.training.examples import Data
from prism_jax.weights import pretrained

LOG_EVERY = 50  # steps per line of metrics.jsonl
HELD_OUT = 5000  # last rows of Morpho-MNIST's training table, as in `morphomnist.WITH_TRAINING`


@dataclasses.dataclass(frozen=True, kw_only=True)
class MechanismsRun:
    """Everything a run of this program depends on."""

    run: str = "runs/mechanisms"
    graph: Graph = graphs.phantom()
    data: Data = Data()
    held_out: str = "val"
    """The split of the same data set whose likelihood is reported."""
    morphomnist: str | None = None
    """Folder of Morpho-MNIST, whose tables are used in place of `data`."""
    truth: str | None = None
    """Preset of the phantom that made the data, to compare with its equations."""
    fit: FitConfig = FitConfig()
    intervals: BootstrapConfig = BootstrapConfig()


def main(config: MechanismsRun) -> None:
    """Fits, measures, and writes the run folder."""
    equations = None if config.truth is None else Equations.preset(config.truth)  # a wrong name fails here
    with run_folder.locked(config.run):
        train(config, equations)


def train(config: MechanismsRun, equations: Equations | None) -> None:
    """Fits, measures and writes the run folder; `equations` are the true ones, where they are known."""
    attributes, held = load(config)
    configs.write(config, config.run)
    model, losses = fit(config.graph, attributes, config.fit)
    model_folder = Path(config.run) / "model"
    folder.save(model, model_folder)
    losses, stops = np.asarray(losses), range(LOG_EVERY, len(losses) + LOG_EVERY, LOG_EVERY)
    rows = [{"step": min(stop, len(losses)), "loss": float(losses[stop - LOG_EVERY : stop].mean())} for stop in stops]
    (Path(config.run) / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = measure(model, held, equations, config.intervals)
    first = config.graph.names[0]
    report["subjects"] = {"fitted": len(attributes[first]), "held_out": len(held[first])}
    pretrained.write_json(report, Path(config.run) / "validation.json")
    nats = ", ".join(f"{name} {row['value']:.4g}" for name, row in report["nll"].items())
    run_folder.announce(model_folder, f"mean negative log likelihood {nats} nats")


def load(config: MechanismsRun) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Attributes [n] to fit, and to measure with. ValueError where there are none."""
    if config.morphomnist is not None:
        table = morphomnist.table(config.morphomnist, "train").attributes
        cut = lambda rows: {name: column[rows] for name, column in table.items()}
        return cut(slice(None, -HELD_OUT)), cut(slice(-HELD_OUT, None))
    observe = lambda part, name: observations.observe_all(examples.open_split(part), config.graph, name)[1]
    parts = (config.data, dataclasses.replace(config.data, split=config.held_out))
    return tuple(observe(part, f"{part.folder} {part.split}") for part in parts)


def measure(
    model: AttributeModel, held: Mapping[str, np.ndarray], equations: Equations | None, intervals: BootstrapConfig
) -> dict[str, dict]:
    """Means with intervals over subjects, in nats: `nll` by attribute, and `gap` to the true equations where known."""
    ours = {
        name: np.asarray(column, np.float64) for name, column in jax.jit(AttributeModel.log_prob)(model, held).items()
    }
    mean = lambda column: dataclasses.asdict(bootstrap(np.mean, column, config=intervals))
    report = {"nll": {name: mean(-column) for name, column in ours.items()}}
    if equations is not None:
        true = phantom_truth.log_prob(held, equations)
        report["gap"] = {name: mean(true[name] - ours[name]) for name in ours}
    return report
