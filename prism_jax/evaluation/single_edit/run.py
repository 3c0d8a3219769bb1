"""Inversion, edit and measurement of one image with a loaded model, in stages that are announced and timed."""

import sys
import time

import jax
import numpy as np

from prism_jax import editing
from prism_jax.metrics.image import l1, psnr, ssim
from prism_jax.model_card import EditDefaults
from prism_jax.stable_diffusion import StableDiffusion


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Stages:
    """Announces and times the stages of a run; a class because each stage starts when the previous one ends."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._name, self._start, self._first = "", time.perf_counter(), time.perf_counter()

    def begin(self, text: str, name: str) -> None:
        """Ends the previous stage, and prints `text`."""
        self.end()
        self._name = name
        say(f"{time.perf_counter() - self._first:4.0f} s  {text}")

    def end(self) -> None:
        now = time.perf_counter()
        if self._name:
            self.seconds[self._name] = round(now - self._start, 3)
        self._name, self._start = "", now


def edit_image(
    sd: StableDiffusion,
    pixels: np.ndarray,
    prompt: str,
    edit: editing.Edit,
    defaults: EditDefaults,
    *,
    seed: int,
    stages: Stages,
) -> jax.Array:
    """Reconstruction and edit of one image [1, h, w, 3]: float32 [2, h, w, 3]; values may lie slightly outside [-1,
    1].

    Raises:
      FloatingPointError: the edit is not finite.
    """
    stages.begin(f"inverting ({defaults.method}, {defaults.steps} steps)", "invert")
    how = {name: getattr(defaults, name) for name in ("method", "steps", "guidance", "inner_steps")}
    inversion = editing.invert(sd, sd.encode_image(pixels), [prompt], **how, seed=seed)
    jax.block_until_ready(inversion.trajectory)
    stages.begin(f"editing ({defaults.steps} steps)", "edit")
    result = jax.block_until_ready(editing.edit(sd, inversion, [[edit]]).latents)  # [1, 2, h, w, c]
    stages.begin("decoding and measuring", "decode")
    decoded = jax.block_until_ready(sd.decode(result[0]))
    if not np.isfinite(decoded).all():
        raise FloatingPointError(
            f"the edit has values that are not finite, with guidance {defaults.guidance:g} and weight "
            f"{defaults.weight:g}; use smaller ones, or --dtype float32"
        )
    return decoded


def metrics_of(original: np.ndarray, decoded: jax.Array, lost_detail: float) -> dict[str, dict[str, float]]:
    """L1 (of 2), PSNR and SSIM: reconstruction against original, edit against reconstruction."""
    measures = {"l1": l1, "psnr": psnr, "ssim": ssim}
    compare = lambda *pair: {name: float(measure(*pair)[0]) for name, measure in measures.items()}
    return {
        "autoencoder": {"lost_detail": lost_detail},
        "reconstruction": compare(decoded[:1], original),
        "edit": compare(decoded[1:], decoded[:1]),
    }
