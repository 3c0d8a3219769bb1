"""Our side of the PyTorch peer, which runs in a process of its own, with its own threads, memory and libraries."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.subjects import SD15_RANDOM, Case
from prism_jax import rng
from prism_jax.diffusion import ddim
from prism_jax.editing.edit import make_control
from prism_jax.pretrained import folder as pretrained_folder
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.weights import pretrained

Mode = Literal["eager", "compile"]
NETWORKS = {"peer_torch": ("unet",), "peer_training": ("unet", "vae", "text_encoder")}
CHECKOUT = Path(__file__).parents[1]


class Peer:
    """A running peer; `ask` sends one request and returns its answer."""

    def __init__(self, program: str, python: str | None):
        command = [python or sys.executable, "-m", f"benchmarks.{program}"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=CHECKOUT)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Raises ChildProcessError if the peer has ended, RuntimeError for other errors of the peer."""
        print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise ChildProcessError(f"the peer ended with code {self.process.wait()}; its messages are above")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


@contextlib.contextmanager
def started(
    program: str, sd: StableDiffusion, model: str, scratch: Path, *, python: str | None = None, **request: Any
) -> Iterator[Peer]:
    """A peer that has loaded the networks of `model` and computes in the precision of `sd`; on a GPU if JAX does.

    Random weights are written to `scratch`, in float32. ValueError where the peer cannot load the networks.
    """
    folder = scratch if model == SD15_RANDOM else pretrained_folder(model).resolve()
    for name in NETWORKS[program]:
        request[name] = str(folder / name)
        if model == SD15_RANDOM:
            pretrained.save(getattr(sd, name), folder / name)
    request["device"] = "cuda" if jax.default_backend() == "gpu" else "cpu"
    request["dtype"] = jnp.dtype(sd.unet.config.dtype).name
    peer = Peer(program, python)
    try:
        try:
            peer.ask(request)
        except RuntimeError as error:
            raise ValueError(f"the peer could not load the networks: {error}") from error
        yield peer
    finally:
        peer.process.stdin.close()
        peer.process.wait()


def write_case(sd: StableDiffusion, case: Case, file: Path, *, steps: int, given: dict[str, Any] | None = None) -> None:
    """Writes the peer's inputs for one batch, with embeddings and tables, whose time it is thus spared.

    With `given` (trajectory and null_context of an inversion of ours) the peer's edit starts from there.
    """
    if sd.schedule.prediction_type != "epsilon":
        raise ValueError(f"the peer supports epsilon prediction only, got {sd.schedule.prediction_type}")
    table = ddim.ddim_table(sd.schedule, steps)
    control = make_control(case.prompts, case.edits, sd.tokenizer, steps)
    branches = [[prompt, *(edit.prompt for edit in row)] for prompt, row in zip(case.prompts, case.edits, strict=True)]
    arrays = {
        "latents": channels_first(case.latents),
        "contexts": np.stack([sd.encode_prompt(row) for row in branches]),  # [b, 1 + e, k, d]
        "null": np.asarray(sd.encode_prompt([""])),
        "t": np.asarray(table.t, np.int64),
        "alpha": np.asarray(table.alpha, np.float64),
        "alpha_prev": np.asarray(table.alpha_prev, np.float64),
        "noise": channels_first(jax.random.normal(rng.key(0), (steps, 1, *case.latents.shape[1:]))),  # edit_friendly's
        **{
            name: np.asarray(getattr(control, name))
            for name in ("mapper", "source_weight", "edit_weight", "replace_self")
        },
    }
    if given is not None:
        arrays["trajectory"] = channels_first(given["trajectory"])
        arrays["null_context"] = np.asarray(given["null_context"])
    np.savez(file, **{name: np.ascontiguousarray(array) for name, array in arrays.items()})


def write_training_case(
    sd: StableDiffusion, images: Mapping[str, np.ndarray], latents: jax.Array, file: Path, draws: tuple = ()
) -> None:
    """Writes a batch for the peer, with the (noise [b, h, w, c], timesteps [b]) of steps to be made alike."""
    arrays = {
        "latents": channels_first(latents).astype(np.float32),
        "tokens": images["tokens"].astype(np.int64),
        "alphas": np.asarray(sd.schedule.alphas_cumprod, np.float32),
    }
    if "image" in images:
        arrays["image"] = np.repeat(channels_first(images["image"]), 3, axis=-3)
    if draws:
        arrays["noise"] = np.stack([channels_first(noise) for noise, _ in draws])
        arrays["t"] = np.stack([np.asarray(t, np.int64) for _, t in draws])
    np.savez(file, **{name: np.ascontiguousarray(array) for name, array in arrays.items()})


def channels_first(array: jax.Array) -> np.ndarray:
    return np.moveaxis(np.asarray(array), -1, -3)


def read_result(file: Path) -> dict[str, np.ndarray]:
    """The peer's result, in our layout: trajectory, null_context, latents; null_text's losses; offsets of some."""
    arrays = np.load(file)
    spatial = ("trajectory", "offsets", "latents")
    return {name: np.moveaxis(arrays[name], -3, -1) if name in spatial else arrays[name] for name in arrays.files}
