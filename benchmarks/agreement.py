"""Agreement of the PyTorch peer's results with ours: a speed comparison needs the same computation."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import peer as peers
from benchmarks.subjects import Case
from prism_jax import editing
from prism_jax.diffusion import ddim
from prism_jax.editing import null_text
from prism_jax.stable_diffusion import StableDiffusion

# Of float32 runs. Adam's first updates are nearly the sign of the gradient, so single entries of an embedding whose
# gradient is almost zero move by rounding; edits from one inversion agree closer than those after two.
BOUNDS = {
    "trajectory, of its size": 1e-4,
    "losses, relative": 1e-3,
    "embeddings, of their shift": 2e-2,
    "edit after its own inversion, of its size": 1e-3,
    "edit from our inversion, of its size": 1e-4,
}


def compare(
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
    results = []
    for given in (None, ours):
        peers.write_case(sd, case, scratch / "check.npz", steps=steps, given=given)
        request = {"case": str(scratch / "check.npz"), "out": str(scratch / "checked.npz"), "mode": "eager"}
        answer = peer.ask(request | {"guidance": guidance, "inner_steps": inner_steps})
        if "error" in answer:
            raise ValueError(f"the peer failed: {answer['error']}")
        results.append(peers.read_result(scratch / "checked.npz"))
    own, from_ours = results
    start = np.asarray(sd.encode_prompt([""]))
    differences = (
        distance(ours["trajectory"], own["trajectory"]),
        distance(losses(sd, inversion, inner_steps), own["losses"]),
        distance(ours["null_context"] - start, own["null_context"] - start),
        distance(ours["latents"], own["latents"]),
        distance(ours["latents"], from_ours["latents"]),
    )
    return dict(zip(BOUNDS, differences, strict=True))


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
