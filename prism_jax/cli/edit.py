"""`prism edit`: one image from a file, inverted, edited by text, and written beside its reconstruction."""

import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image

from prism_jax import editing
from prism_jax.data import transforms
from prism_jax.data.captions import edit_language, phrases, templates
from prism_jax.data.dicom import secondary_capture
from prism_jax.data.dicom.read import Radiograph
from prism_jax.editing.edit import make_control
from prism_jax.evaluation.counterfactuals import attention_maps
from prism_jax.metrics.image import l1, psnr, ssim
from prism_jax.pixels import to_uint8
from prism_jax.report.figures import difference_image
from prism_jax.report.versions import versions
from prism_jax.stable_diffusion import StableDiffusion

VAE_FACTOR = 8  # of every Stable Diffusion; the model says it again once it is loaded
Words = tyro.conf.UseAppendAction[tuple[str, ...]]
FILES = ("image", "mask", "keep")  # the options that name one
SHIPPED_MODEL = Path(__file__).parents[1] / "pretrained" / "phantom"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Edits one image by text: by a new caption (--edit), or by what to change in the one it has (--remove ...).

    Writes original, reconstruction, edit and difference (PNG) and result.json, with --dicom-out also edit.dcm.
    Effects are to be read against the reconstruction: it shows what inverting alone has changed.
    """

    image: tyro.conf.Positional[Path]
    """PNG, JPEG, TIFF or DICOM file."""
    prompt: str
    """What the image shows, in words that the model was trained on."""
    edit: str | None = None
    """What it shall show: any text."""
    remove: Words = ()
    """A finding of the prompt that shall be absent: `--remove pacemaker`."""
    add: Words = ()
    """A finding that shall be present."""
    set: Words = ()
    """A new age, sex or view: `--set age=40`."""
    drop: Words = ()
    """What the caption shall no longer mention: a finding, age, sex or view."""
    out: Path
    """Folder for the results; made when all is done."""
    model: Path = SHIPPED_MODEL
    """Diffusers folder; by default the small phantom model of this package."""
    method: Literal["ddim", "null_text", "negative_prompt", "direct", "edit_friendly"] = "edit_friendly"
    """How the image is inverted; the default came closest to the truth on phantoms (README, Results)."""
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
    weight: float = 1.0
    """Factor of the attention to the words that are new in the edit."""
    reweight: dict[str, float] = dataclasses.field(default_factory=dict)
    """Words of the edit and the factor of their attention: `no 2.0`."""
    blend: float | None = None
    """Confines the change to where the words that differ hold more than this share of their largest attention; try
    0.3."""
    blend_words: tuple[str, ...] = ()
    """Words of the prompt to confine it by instead; needs --edit-words."""
    edit_words: tuple[str, ...] = ()
    """Words of the edit to confine it by."""
    mask: Path | None = None
    """Picture of the image's size, bright where guidance may act: the finding. The rest is kept, unless --keep."""
    keep: Path | None = None
    """Picture of the image's size, bright where the source is kept."""
    size: int | None = None
    """Side in pixels; by default the model's. The image keeps its aspect ratio on black."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks."""
    seed: int = 0
    """For methods that draw noise."""
    attention: bool = False
    """Also writes attention.png: where each word of the edit looked, and each that goes; a few passes more."""
    dicom_out: bool = False
    """Also writes the edit as edit.dcm: a derived secondary capture with new UIDs, described as synthetic
    counterfactual, without patient tags."""
    keep_patient: bool = False
    """With --dicom-out: edit.dcm keeps the tags of patient and study of the DICOM image."""


def run(options: Options) -> int:
    """Edits the image and writes the files together; returns the exit code."""
    files = {name: transforms.read_file(path) for name in FILES if (path := getattr(options, name))}
    _check(options, files)
    wanted = _edit(options)
    clock = _Clock()
    _say(f"loading {options.model}")
    sd = StableDiffusion.from_pretrained(options.model, dtype=jnp.dtype(options.dtype))
    size = options.size or sd.size
    image = transforms.to_input(files["image"].pixels, size)[None]  # [1, h, w, 3]
    wanted = dataclasses.replace(wanted, mask=_mask(files.get("mask"), size), keep=_mask(files.get("keep"), size))
    make_control([options.prompt], [[wanted]], sd.tokenizer, options.steps)  # refuses its words before slow work
    clock.lap("load")
    _say(f"inverting ({options.method}, {options.steps} steps)")
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
    _say(f"editing ({options.steps} steps)")
    result = editing.edit(sd, inversion, [[wanted]])
    clock.lap("edit", result.latents)
    _say("decoding")
    pictures = sd.decode(result.latents[0])  # [2, h, w, 3]
    clock.lap("decode", pictures)
    words = None
    if options.attention:
        words = _words(sd, (options.prompt, wanted.prompt), pictures)
        clock.lap("attention")
    metrics = _metrics(image, pictures[:1], pictures[1:])
    facts = {"edited_prompt": wanted.prompt, "size": size, "metrics": metrics, "seconds": clock.seconds}
    _write(options, files["image"], image[0], pictures, words, facts)
    print(f"edited caption: {wanted.prompt}")
    print(
        f"{options.out}: reconstruction {metrics['reconstruction']['psnr']:.1f} dB from the original, "
        f"the edit changes {metrics['edit']['l1']:.3f} per pixel (of 2) against it"
    )
    return 0


def _words(sd: StableDiffusion, prompts: tuple[str, str], pictures: jax.Array) -> np.ndarray:
    """Where the words looked, uint8 [h, w, 3]; `pictures` are the reconstruction and the edit."""
    reconstruction, edit = (to_uint8(np.asarray(np.mean(picture, axis=-1))) for picture in pictures)
    return attention_maps.sheet(attention_maps.maps_of_edit(sd, prompts, (reconstruction, edit)))


def _say(stage: str) -> None:
    print(stage, file=sys.stderr, flush=True)


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


def _check(options: Options, files: Mapping[str, transforms.XrayFile]) -> None:
    """Raises ValueError for what can be known to be wrong before models load."""
    transforms.frame(options.size or VAE_FACTOR)
    if options.keep_patient and not options.dicom_out:
        raise ValueError("--keep-patient is about edit.dcm; give --dicom-out too")
    if options.keep_patient and files["image"].dicom is None:
        raise ValueError(f"--keep-patient needs a DICOM image; {options.image} is none")
    wanted = files["image"].pixels.shape[::-1]
    for name, file in files.items():
        if (sides := file.pixels.shape[::-1]) != wanted:
            raise ValueError(f"{getattr(options, name)} is {sides} pixels, the image {wanted}; draw masks on the image")
    if not options.model.is_dir():
        raise ValueError(f"model {options.model} is not a folder; give --model a diffusers folder")
    if bool(options.blend_words) != bool(options.edit_words):
        raise ValueError("--blend-words and --edit-words belong together: give both or neither")
    for name in ("cross_steps", "self_steps", "blend"):
        share = getattr(options, name)
        if share is not None and not 0.0 <= share <= 1.0:
            raise ValueError(f"--{name.replace('_', '-')} {share} is not a share; use 0 to 1")
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"out {options.out} is a file; name a folder")
    parent = next(folder for folder in (options.out, *options.out.absolute().parents) if folder.exists())
    if not os.access(parent, os.W_OK):
        raise ValueError(f"out {options.out} cannot be written: no permission in {parent}")


def _edit(options: Options) -> editing.Edit:
    """The edit that the options ask for; words and a blend given by hand go before those that follow from it."""
    edit = editing.edit_between(
        options.prompt,
        _target(options),
        cross_steps=options.cross_steps,
        self_steps=options.self_steps,
        weight=options.weight,
        blend=None if options.blend_words else options.blend,
    )
    if options.blend_words:
        strength = {} if options.blend is None else {"threshold": options.blend}
        blend = editing.Blend(words=options.blend_words, edit_words=options.edit_words, **strength)
        edit = dataclasses.replace(edit, blend=blend)
    return dataclasses.replace(edit, kind=options.kind, reweight=(edit.reweight or {}) | options.reweight)


def _mask(file: transforms.XrayFile | None, size: int) -> np.ndarray | None:
    """A mask drawn on the image, bool [h, w], laid into the frame as the image is."""
    return None if file is None else transforms.to_input(file.pixels, size)[..., 0] > 0


def _target(options: Options) -> str:
    """The edited prompt. Raises ValueError unless it is given or follows from the prompt, one of both."""
    wishes = [f"{verb} {words}" for verb in ("remove", "add", "set", "drop") for words in getattr(options, verb)]
    if (options.edit is None) == (not wishes):
        raise ValueError("say what to change either by --edit CAPTION or by --remove, --add, --set and --drop")
    if options.edit is not None:
        return options.edit
    wording, attributes = templates.read(options.prompt)
    return wording.describe(phrases.changed(attributes, edit_language.read(", ".join(wishes), attributes)))


def _metrics(original: np.ndarray, reconstruction: jax.Array, edit: jax.Array) -> dict[str, dict[str, float]]:
    """L1 (of 2), PSNR and SSIM: reconstruction against original, edit against reconstruction."""

    def compare(images: jax.Array, references: jax.Array | np.ndarray) -> dict[str, float]:
        measures = {"l1": l1, "psnr": psnr, "ssim": ssim}
        return {name: float(measure(images, references)[0]) for name, measure in measures.items()}

    return {"reconstruction": compare(reconstruction, original), "edit": compare(edit, reconstruction)}


def _write(
    options: Options,
    source: transforms.XrayFile,
    original: np.ndarray,
    pictures: jax.Array,
    words: np.ndarray | None,
    facts: dict[str, Any],
) -> None:
    """Writes all files into a hidden folder beside `out` and moves them there when they are whole."""
    names = ("original", "reconstruction", "edit")
    grey = {
        name: to_uint8(np.asarray(np.mean(image, axis=-1)))
        for name, image in zip(names, (original, *pictures), strict=True)
    }
    grey["difference"] = difference_image(grey["reconstruction"], grey["edit"])
    if words is not None:
        grey["attention"] = words
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
        if options.dicom_out:
            (partial / "edit.dcm").write_bytes(_dicom(source.dicom, grey["edit"], options.keep_patient))
        options.out.mkdir(exist_ok=True)
        for file in sorted(partial.iterdir()):
            os.replace(file, options.out / file.name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _dicom(source: Radiograph | None, pixels: np.ndarray, keep_patient: bool) -> bytes:
    """The edit as DICOM; where the image's own pixel spacing is known, that of the frame follows from it."""
    if source is None:
        return secondary_capture.encode(pixels)
    tags = source.tags
    scale = min(pixels.shape[0] / tags.height, pixels.shape[1] / tags.width)
    spacing = tags.spacing and (tags.spacing[0] / scale, tags.spacing[1] / scale)
    return secondary_capture.encode(pixels, source=source.dataset, keep_patient=keep_patient, spacing=spacing)
