"""Agreement of the PyTorch peer's results with ours: a speed comparison needs the same computation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import peer as peers
from benchmarks.subjects import Case
from prism_jax import editing, rng
from prism_jax.diffusion import ddim
from prism_jax.editing import null_text
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.training.finetune import step as finetune_step

# Of float32 runs. Adam's first updates are nearly the sign of the gradient, so single entries of an embedding whose
# gradient is almost zero move by rounding; edits from one inversion agree closer than those after two.
EDITING_BOUNDS = {
    "trajectory, of its size": 1e-4,
    "losses, relative": 1e-3,
    "embeddings, of their shift": 2e-2,
    "edit after its own inversion, of its size": 1e-3,
    "edit from our inversion, of its size": 1e-4,
} | {f"edit after {method}, of its size": 1e-3 for method in editing.inversion.METHODS if method != "null_text"}

# Of float32 runs, relative. The second loss is that after an update by Adam, which enlarges differences of
# gradients.
TRAINING_BOUNDS = {"first loss": 1e-4, "second loss": 1e-4, "first gradient norm": 1e-3, "second gradient norm": 1e-3}


def of_editing(
    sd: StableDiffusion, peer: peers.Peer, case: Case, scratch: Path, *, steps: int, guidance: float, inner_steps: int
) -> dict[str, float]:
    """Relative differences (L2) between our null-text inversion and edit and the peer's, by quantity."""
    options = dict(steps=steps, guidance=guidance, inner_steps=inner_steps)
    inversion = editing.invert(sd, case.latents, case.prompts, tolerance=-1.0, **options)
    ours = {
        "trajectory": inversion.trajectory,
        "null_context": inversion.null_context,
        "latents": editing.edit(sd, inversion, case.edits).latents,
    }
    own, from_ours = (
        _asked(sd, peer, case, scratch, given=given, method="null_text", **options) for given in (None, ours)
    )
    start = np.asarray(sd.encode_prompt([""]))
    differences = (
        distance(ours["trajectory"], own["trajectory"]),
        distance(losses(sd, inversion, inner_steps), own["losses"]),
        distance(ours["null_context"] - start, own["null_context"] - start),
        distance(ours["latents"], own["latents"]),
        distance(ours["latents"], from_ours["latents"]),
    )
    return dict(zip(EDITING_BOUNDS, differences, strict=False))


def of_method(
    sd: StableDiffusion, peer: peers.Peer, case: Case, scratch: Path, method: str, *, steps: int, guidance: float
) -> dict[str, float]:
    """The same of the edit alone, after a `method` without tuning."""
    inversion = editing.invert(sd, case.latents, case.prompts, method=method, steps=steps, guidance=guidance)
    ours = editing.edit(sd, inversion, case.edits).latents
    theirs = _asked(sd, peer, case, scratch, method=method, steps=steps, guidance=guidance, inner_steps=0)
    return {f"edit after {method}, of its size": distance(ours, theirs["latents"])}


def _asked(
    sd: StableDiffusion, peer: peers.Peer, case: Case, scratch: Path, *, steps: int, given: Any = None, **request: Any
) -> dict[str, np.ndarray]:
    """The peer's result, eager."""
    files = {"case": str(scratch / "check.npz"), "out": str(scratch / "checked.npz")}
    peers.write_case(sd, case, scratch / "check.npz", steps=steps, given=given)
    peer.ask(files | {"mode": "eager"} | request)
    return peers.read_result(scratch / "checked.npz")


def losses(sd: StableDiffusion, inversion: editing.Inversion, inner_steps: int) -> jax.Array:
    """The losses before each update, `[t, i, b]`, which an `Inversion` does not keep."""
    null = jnp.broadcast_to(sd.encode_prompt([""]), inversion.context.shape)
    table = ddim.ddim_table(sd.schedule, inversion.steps)
    options = dict(guidance=inversion.guidance, tolerance=jnp.float32(-1), inner_steps=inner_steps)
    run = jax.jit(lambda unet, *args: null_text.tune(unet, *args, **options)[2])
    return run(sd.unet, inversion.trajectory, inversion.context, null, table)


def distance(ours: jax.Array, theirs: np.ndarray) -> float:
    """Length of the difference, in lengths of ours."""
    return float(np.linalg.norm(np.ravel(ours - theirs)) / np.linalg.norm(np.ravel(ours)))


def of_training(
    sd: StableDiffusion, training: Any, peer: peers.Peer, images: Mapping[str, np.ndarray], scratch: Path
) -> dict[str, float]:
    """Relative differences of the peer's losses and gradient norms from ours, over two steps with the same draws.

    `training` is ours at its first step, with cached latents.
    """
    root, batch = rng.key(0), training.batch
    ours = {}
    for name in ("first", "second"):
        metrics = training.update()
        ours |= {f"{name} loss": metrics["loss"], f"{name} gradient norm": metrics["grad_norm"]}
    draws = tuple(_draws(sd, batch, root, i) for i in range(2))
    peers.write_training_case(sd, images, batch["latents"], scratch / "check.npz", draws)
    answer = peer.ask({"case": str(scratch / "check.npz"), "mode": "eager", "remat": False, "steps": None})
    theirs = {}
    for i, name in enumerate(("first", "second")):
        theirs |= {f"{name} loss": answer["losses"][i], f"{name} gradient norm": answer["norms"][i]}
    return {name: abs(theirs[name] - float(ours[name])) / float(ours[name]) for name in TRAINING_BOUNDS}


def _draws(sd: StableDiffusion, batch: Mapping[str, Any], root: jax.Array, step: int) -> tuple[jax.Array, jax.Array]:
    """Noise and timesteps that our step draws for the batch."""
    keys = lambda name: rng.per_example(rng.at_step(rng.stream(root, name), step), batch["id"])
    noise = finetune_step.normal_like(keys("noise"), batch["latents"].astype(jnp.float32))
    timestep = lambda key: jax.random.randint(key, (), 0, len(sd.schedule.alphas_cumprod))
    return noise, jax.vmap(timestep)(keys("timestep"))
