"""Maximum likelihood for all mechanisms of a graph at once: seconds on a CPU."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from prism_jax import rng
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.graph import Attributes, Graph


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitConfig:
    """AdamW with a cosine to zero. The published runs take 32 rows a step and a constant rate for many more steps."""

    steps: int = 3000
    batch_size: int = 512
    peak: float = 1e-2
    weight_decay: float = 0.0
    clip: float = 200.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(f"steps {self.steps} and batch_size {self.batch_size}; use 1 up for both")


def fit(graph: Graph, attributes: Attributes, config: FitConfig = FitConfig()) -> tuple[AttributeModel, jax.Array]:
    """The fitted model, and the mean negative log likelihood of every step's rows, [steps].

    `attributes` [n] hold every attribute of the graph for n subjects, none unknown; rows are drawn with replacement.

    Raises:
      ValueError: an attribute that is missing, unknown or out of its values.
    """
    root = rng.key(config.seed)
    model = AttributeModel.create(graph, rng.stream(root, "init"))
    model.check(attributes)
    table = {name: jnp.asarray(attributes[name]) for name in graph.names}
    key, count = rng.stream(root, "rows"), len(table[graph.names[0]])
    schedule = optax.cosine_decay_schedule(config.peak, config.steps)
    tx = optax.chain(optax.clip_by_global_norm(config.clip), optax.adamw(schedule, weight_decay=config.weight_decay))
    mean_nll = lambda model, rows: -jnp.mean(sum(model.log_prob(rows).values()))

    def step(carry, number):
        model, opt_state = carry
        rows = jax.random.randint(rng.at_step(key, number), (config.batch_size,), 0, count)
        loss, gradient = jax.value_and_grad(mean_nll)(model, {name: column[rows] for name, column in table.items()})
        changes, opt_state = tx.update(gradient, opt_state, model)
        return (optax.apply_updates(model, changes), opt_state), loss

    (model, _), losses = jax.lax.scan(step, (model, tx.init(model)), jnp.arange(config.steps))
    return model, losses
