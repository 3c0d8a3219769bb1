"""Our side of the PyTorch peer that trains, which runs in a process of its own."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import training_step
from benchmarks.peer import CHECKOUT, Peer, channels_first
from benchmarks.subjects import SD15_RANDOM
from benchmarks.training_step import TrainingStep
from prism_jax import rng
from prism_jax.pretrained import folder as pretrained_folder
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.training.finetune import step as finetune_step
from prism_jax.weights import pretrained

# Of float32 runs, relative. The second loss is that after an update by Adam, which enlarges differences of gradients.
BOUNDS = {"first loss": 1e-4, "second loss": 1e-4, "first gradient norm": 1e-3, "second gradient norm": 1e-3}


class TrainingPeer(Peer):
    """A running peer that trains."""

    def __init__(self, python: str):
        command = [python, "-m", "benchmarks.peer_training"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=CHECKOUT)


@contextlib.contextmanager
def started(
    sd: StableDiffusion, model: str, scratch: Path, *, python: str | None, channels_last: bool
) -> Iterator[TrainingPeer]:
    """A peer that has loaded the networks of `sd`, to train as ours does."""
    folder = pretrained_folder(model)
    if model == SD15_RANDOM:
        folder = scratch / "model"
        pretrained.save_unet(sd.unet, folder / "unet")
        pretrained.save_autoencoder(sd.vae, folder / "vae")
        pretrained.save_text_encoder(sd.text_encoder, folder / "text_encoder")
    optimizer = training_step.OPTIMIZER
    request = {name: str((folder / name).resolve()) for name in ("unet", "vae", "text_encoder")} | {
        "dtype": jnp.dtype(sd.unet.config.dtype).name,
        "device": "cuda" if jax.default_backend() == "gpu" else "cpu",
        "channels_last": channels_last,
        "ema_decay": training_step.EMA_DECAY,
        "optimizer": {
            "lr": optimizer.peak,
            "betas": [optimizer.b1, optimizer.b2],
            "eps": optimizer.eps,
            "weight_decay": optimizer.weight_decay,
            "clip": optimizer.clip,
        },
    }
    peer = TrainingPeer(python or sys.executable)
    try:
        asked(peer, request)
        yield peer
    finally:
        peer.process.stdin.close()
        peer.process.wait()


def asked(peer: Peer, request: Mapping[str, Any]) -> dict[str, Any]:
    """The peer's answer. Raises RuntimeError for what went wrong there."""
    answer = peer.ask(dict(request))
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer


def write_case(
    sd: StableDiffusion, images: Mapping[str, np.ndarray], latents: jax.Array, file: Path, draws: tuple = ()
) -> None:
    """Writes a batch for the peer, with the (noise [b, h, w, c], timesteps [b]) of steps to be made alike."""
    arrays = {
        "latents": channels_first(latents).astype(np.float32),
        "image": np.repeat(channels_first(images["image"]), 3, axis=-3),
        "tokens": images["tokens"].astype(np.int64),
        "alphas": np.asarray(sd.schedule.alphas_cumprod, np.float32),
    }
    if draws:
        arrays["noise"] = np.stack([channels_first(noise) for noise, _ in draws])
        arrays["t"] = np.stack([np.asarray(t, np.int64) for _, t in draws])
    np.savez(file, **{name: np.ascontiguousarray(array) for name, array in arrays.items()})


def compare(
    sd: StableDiffusion,
    made: TrainingStep,
    peer: Peer,
    images: Mapping[str, np.ndarray],
    latents: jax.Array,
    scratch: Path,
) -> dict[str, float]:
    """Relative differences of the peer's losses and gradient norms from ours, over two steps with the same draws."""
    root = rng.key(0)
    batch = {**{name: value for name, value in images.items() if name != "image"}, "latents": latents}
    state, step = jax.jit(made.create)(made.params), jax.jit(made.step)
    ours = {}
    for name in ("first", "second"):
        state, metrics = step(state, made.frozen, batch, root)
        ours |= {f"{name} loss": metrics["loss"], f"{name} gradient norm": metrics["grad_norm"]}
    write_case(sd, images, latents, scratch / "check.npz", tuple(_draws(sd, batch, root, i) for i in range(2)))
    request = {"case": str(scratch / "check.npz"), "mode": "eager", "remat": False, "steps": None}
    answer = asked(peer, request)
    theirs = {}
    for i, name in enumerate(("first", "second")):
        theirs |= {f"{name} loss": answer["losses"][i], f"{name} gradient norm": answer["norms"][i]}
    return {name: abs(theirs[name] - float(ours[name])) / float(ours[name]) for name in BOUNDS}


def _draws(sd: StableDiffusion, batch: Mapping[str, Any], root: jax.Array, step: int) -> tuple[jax.Array, jax.Array]:
    """Noise and timesteps that our step draws for the batch."""
    keys = lambda name: rng.per_example(rng.at_step(rng.stream(root, name), step), batch["id"])
    noise = finetune_step.normal_like(keys("noise"), batch["latents"].astype(jnp.float32))
    timestep = lambda key: jax.random.randint(key, (), 0, len(sd.schedule.alphas_cumprod))
    return noise, jax.vmap(timestep)(keys("timestep"))
