"""`prism edit`: one image from a file, inverted, edited by text, and written beside its reconstruction."""

import dataclasses
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image

from prism_jax import editing
from prism_jax.data.transforms import load_image, to_uint8
from prism_jax.metrics.image import l1, psnr, ssim
from prism_jax.report.figures import difference_image
from prism_jax.report.versions import versions
from prism_jax.stable_diffusion import StableDiffusion

VAE_FACTOR = 8  # of every Stable Diffusion; the model says it again once it is loaded
SHIPPED_MODEL = Path(__file__).parents[1] / "pretrained" / "phantom"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Edits one image by text.

    Writes original, reconstruction, edit and difference (PNG) and result.json. Effects are to be read against
    the reconstruction: it shows what inverting alone has changed.
    """

    image: tyro.conf.Positional[Path]
    """PNG or JPEG file."""
    prompt: str
    """What the image shows, in words that the model was trained on."""
    edit: str
    """What it shall show."""
    out: Path
    """Folder for the results; made when all is done."""
    model: Path = SHIPPED_MODEL
    """Diffusers folder; by default the small phantom model of this package."""
    method: Literal["ddim", "null_text"] = "null_text"
    """How the image is inverted."""
    steps: int = 50
    """Diffusion steps, each way."""
    guidance: float = 7.5
    """Classifier-free guidance."""
    inner_steps: int = 10
    """Most optimisation steps of null_text per diffusion step."""
    kind: Literal["refine", "replace"] = "refine"
    """Whether the edit adds and removes words, or replaces words one by one."""
    cross_steps: float = 0.8
    """Share of the steps in which words look where the source's words looked."""
    self_steps: float = 0.5
    """Share of the steps that keep the source's spatial layout."""
    reweight: dict[str, float] = dataclasses.field(default_factory=dict)
    """Words of the edit and the factor of their attention: `no 2.0`."""
    blend_words: tuple[str, ...] = ()
    """Words of the prompt outside whose place nothing changes; needs --edit-words."""
    edit_words: tuple[str, ...] = ()
    """Words of the edit with the same meaning."""
    size: int | None = None
    """Side in pixels; by default the model's. The image keeps its aspect ratio on black."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks."""
    seed: int = 0
    """For methods that draw noise."""


def run(options: Options) -> int:
    """Edits the image and writes the five files together; returns the exit code."""
    _check(options)
    clock = _Clock()
    sd = StableDiffusion.from_pretrained(options.model, dtype=jnp.dtype(options.dtype))
    size = options.size or sd.size
    image = load_image(options.image, size)[None]  # [1, h, w, 3]
    clock.lap("load")
    inversion = editing.invert(
        sd,
        sd.encode_image(image),
        [options.prompt],
        method=options.method,
        steps=options.steps,
        guidance=options.guidance,
        inner_steps=options.inner_steps,
        seed=options.seed,
    )
    clock.lap("invert", inversion.trajectory)
    result = editing.edit(sd, inversion, [[_edit(options)]])
    clock.lap("edit", result.latents)
    pictures = sd.decode(result.latents[0])  # [2, h, w, 3]
    clock.lap("decode", pictures)
    metrics = _metrics(image, pictures[:1], pictures[1:])
    _write(options, image[0], pictures, {"size": size, "metrics": metrics, "seconds": clock.seconds})
    print(
        f"{options.out}: reconstruction {metrics['reconstruction']['psnr']:.1f} dB from the original, "
        f"the edit changes {metrics['edit']['l1']:.3f} per pixel (of 2) against it"
    )
    return 0


class _Clock:
    """Seconds of the parts of a run; a class because each lap starts where the last one ended."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    def lap(self, name: str, result: object = None) -> None:
        """Ends the part `name` once the arrays of `result` are computed."""
        jax.block_until_ready(result)
        now = time.perf_counter()
        self.seconds[name] = round(now - self._start, 3)
        self._start = now


def _check(options: Options) -> None:
    """Raises ValueError for what can be known to be wrong before models load."""
    load_image(options.image, options.size or VAE_FACTOR)  # a damaged file or a size that cannot be
    if not options.model.is_dir():
        raise ValueError(f"model {options.model} is not a folder; give --model a diffusers folder")
    if bool(options.blend_words) != bool(options.edit_words):
        raise ValueError("--blend-words and --edit-words belong together: give both or neither")
    for name in ("cross_steps", "self_steps"):
        share = getattr(options, name)
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"--{name.replace('_', '-')} {share} is not a share of the steps; use 0 to 1")
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"out {options.out} is a file; name a folder")
    parent = next(folder for folder in (options.out, *options.out.absolute().parents) if folder.exists())
    if not os.access(parent, os.W_OK):
        raise ValueError(f"out {options.out} cannot be written: no permission in {parent}")


def _edit(options: Options) -> editing.Edit:
    blend = None
    if options.blend_words:
        blend = editing.Blend(words=options.blend_words, edit_words=options.edit_words)
    return editing.Edit(
        prompt=options.edit,
        kind=options.kind,
        cross_steps=options.cross_steps,
        self_steps=options.self_steps,
        reweight=options.reweight,
        blend=blend,
    )


def _metrics(original: np.ndarray, reconstruction: jax.Array, edit: jax.Array) -> dict[str, dict[str, float]]:
    """L1 (of 2), PSNR and SSIM: reconstruction against original, edit against reconstruction."""

    def compare(images: jax.Array, references: jax.Array | np.ndarray) -> dict[str, float]:
        measures = {"l1": l1, "psnr": psnr, "ssim": ssim}
        return {name: float(measure(images, references)[0]) for name, measure in measures.items()}

    return {"reconstruction": compare(reconstruction, original), "edit": compare(edit, reconstruction)}


def _write(options: Options, original: np.ndarray, pictures: jax.Array, facts: dict[str, Any]) -> None:
    """Writes all files into a hidden folder beside `out` and moves them there when they are whole."""
    names = ("original", "reconstruction", "edit")
    grey = {name: to_uint8(np.mean(image, axis=-1)) for name, image in zip(names, (original, *pictures), strict=True)}
    grey["difference"] = difference_image(grey["reconstruction"], grey["edit"])
    files = {f"{name}.png": pixels for name, pixels in grey.items()}
    settings = {
        name: str(value) if isinstance(value, Path) else value for name, value in dataclasses.asdict(options).items()
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{options.out.name}.", dir=options.out.parent))
    try:
        for name, pixels in files.items():
            Image.fromarray(pixels).save(partial / name)
        (partial / "result.json").write_text(
            json.dumps({"settings": settings, "versions": versions(), **facts}, indent=2) + "\n"
        )
        options.out.mkdir(exist_ok=True)
        for name in (*files, "result.json"):
            os.replace(partial / name, options.out / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
