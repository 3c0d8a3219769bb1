"""Profile of a UNet's loss and gradient on a CPU core, by kind of operation.

    taskset -c 0 python -m benchmarks.gradient_profile

From JAX's profiler: the time of every operation of the compiled program, gathered by the primitive and the pass
(forward, or backward: what JAX writes as a transposed linearisation) that it came from.
"""

import collections
import gzip
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx

from benchmarks import tables
from prism_jax import StableDiffusion, entrypoint
from prism_jax.flops import TOKENS

_NAMED = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = .*metadata=\{op_name=\"([^\"]*)\"")


def main(*, model: str = "phantom", size: int = 128, batch: int = 4, repeats: int = 5, rows: int = 12) -> None:
    """Prints the kinds that take longest, in ms a call."""
    sd = StableDiffusion.from_pretrained(model)
    call, inputs = compiled(sd, batch, size)
    names = dict(match.groups() for line in call.as_text().splitlines() if (match := _NAMED.match(line)))
    jax.block_until_ready(call(*inputs))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(repeats):
                jax.block_until_ready(call(*inputs))
        spent = collections.Counter()
        for name, microseconds in events(Path(folder)):
            if name in names:
                spent[kind(names[name])] += microseconds / repeats / 1000
    body = [(*key, f"{value:.1f}", f"{value / spent.total():.0%}") for key, value in spent.most_common(rows)]
    print(tables.markdown(("pass", "operation", "ms", "fraction"), body))


def compiled(sd: StableDiffusion, batch: int, size: int) -> tuple[jax.stages.Compiled, tuple]:
    """The compiled loss and gradient to all weights, and its arguments."""
    graphdef, weights = nnx.split(sd.unet)
    latents = jnp.asarray(np.random.default_rng(0).normal(size=(batch, *sd.latent_shape(size, size))), jnp.float32)
    timesteps = jnp.linspace(1, 999, batch).astype(jnp.int32)
    context = jnp.zeros((batch, TOKENS, sd.unet.config.cross_attention_dim))

    def loss(weights, latents):
        return jnp.mean(jnp.square(nnx.merge(graphdef, weights)(latents, timesteps, context) - latents))

    inputs = (weights, latents)
    return jax.jit(jax.value_and_grad(loss)).lower(*inputs).compile(), inputs


def events(folder: Path) -> Iterator[tuple[str, float]]:
    """Name and duration in microseconds of everything that ran."""
    (file,) = folder.rglob("*.trace.json.gz")
    for event in json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]:
        if event.get("ph") == "X":
            yield event["name"], event["dur"]


def kind(op_name: str) -> tuple[str, str]:
    """Pass and primitive of an operation, by the path that JAX gives it; attention is recognised by its vmap."""
    direction = "backward" if "transpose(jvp" in op_name else "forward"
    primitive = op_name.rpartition("/")[2]
    return direction, f"{primitive} of attention" if "vmap(" in op_name else primitive


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(lambda: tyro.cli(main, prog="python -m benchmarks.gradient_profile")))
