"""`prism edit`: inverts one image, edits it by text, and reports whether the edit succeeded."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import tyro

from prism_jax import editing, image_kind, model_card, pretrained
from prism_jax.classifier import Classifier
from prism_jax.data import plausibility, transforms
from prism_jax.data.captions.templates import EXAMPLE, PLAIN
from prism_jax.data.transforms import XrayFile
from prism_jax.editing.edit import make_control
from prism_jax.evaluation.counterfactuals import attention_maps
from prism_jax.evaluation.single_edit import captions, files, outcome
from prism_jax.evaluation.single_edit.captions import Prompts
from prism_jax.evaluation.single_edit.run import Stages, edit_image, metrics_of, say
from prism_jax.model_card import NO_CARD, EditDefaults, ModelCard
from prism_jax.pixels import to_uint8
from prism_jax.report.versions import versions
from prism_jax.stable_diffusion import StableDiffusion

Words = tyro.conf.UseAppendAction[tuple[str, ...]]
REQUESTS = ("remove", "add", "set", "drop")
RANGES = {
    "between 0 and 1": (0, 1, ("cross_steps", "self_steps", "blend")),
    "0 or more": (0, sys.float_info.max, ("guidance", "weight")),
    "1 or more": (1, sys.float_info.max, ("steps", "inner_steps")),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Edits one image by text: by requested changes (--remove, --add, --set, --drop), or by a new caption (--edit).

    Writes original, reconstruction, edit and difference (PNG), all four on one sheet (before_after.png) and
    result.json. Compare the edit with the reconstruction, which shows the changes due to inversion alone.

    First try: prism edit --example --remove pacemaker --out first
    """

    image: tyro.conf.Positional[Path | None] = None
    """PNG, JPEG, TIFF or DICOM file."""
    example: bool = False
    """Edit the model's own example image; its caption is known."""
    prompt: str | None = None
    """Caption of the image, as the captions the model was trained on; findings it leaves out are filled in."""
    edit: str | None = None
    """The new caption, in any words."""
    remove: Words = ()
    """A finding to remove: `--remove pacemaker`."""
    add: Words = ()
    """A finding to add."""
    set: Words = ()
    """A new age, sex or view: `--set age=40`."""
    drop: Words = ()
    """An attribute to leave out of the caption: a finding, age, sex or view."""
    out: Path
    """New folder for the results."""
    overwrite: bool = False
    """Replace an earlier result in --out."""
    model: str = "phantom"
    """Name of a shipped model, or a diffusers folder."""
    any_image: bool = False
    """Also edit images that do not resemble the model's training images; otherwise they are refused."""
    method: Literal["ddim", "null_text", "negative_prompt", "direct", "edit_friendly"] | None = None
    """Inversion method. This and the next options default to the model card."""
    steps: int | None = None
    """Diffusion steps of the inversion, and as many of the edit."""
    guidance: float | None = None
    """Classifier-free guidance."""
    inner_steps: int | None = None
    """Optimisation steps of null_text per diffusion step, at most."""
    kind: Literal["refine", "replace"] = "refine"
    """Prompt-to-prompt edit: refine adds and removes words, replace swaps words one for one."""
    cross_steps: float | None = None
    """Fraction of the steps that reuse the source's cross-attention maps (prompt-to-prompt `cross_replace_steps`)."""
    self_steps: float | None = None
    """Fraction of the steps that reuse the source's self-attention, and with it the spatial layout."""
    weight: float | None = None
    """Factor on the attention to words that are new in the edit."""
    reweight: dict[str, float] = dataclasses.field(default_factory=dict)
    """Words of the edit and the factor on their attention: `no 2.0`."""
    blend: float | None = None
    """Local blend: the image changes only where the attention to changed words exceeds this fraction of its maximum;
    try 0.3."""
    blend_words: tuple[str, ...] = ()
    """Words of the prompt whose attention defines that region instead; needs --edit-words."""
    edit_words: tuple[str, ...] = ()
    """Words of the edited caption whose attention defines that region."""
    mask: Path | None = None
    """Mask image of the same size, bright where the edit may act, for example on the finding. The rest is kept from the
    source, unless --keep is given."""
    keep: Path | None = None
    """Mask image of the same size, bright where the source is kept."""
    size: int | None = None
    """Side in pixels; by default the model's. The image is padded with black to a square."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks."""
    seed: int = 0
    """Seed of the inversion methods that draw noise."""
    attention: bool = False
    """Also writes attention.png: cross-attention maps of the words of the edit and of the removed words; takes a little
    longer."""
    dicom_out: bool = False
    """Also writes the edit as edit.dcm: a derived secondary capture with new UIDs, described as synthetic
    counterfactual, without patient tags."""
    keep_patient: bool = False
    """With --dicom-out: edit.dcm keeps the patient and study tags of the DICOM source."""


def run(options: Options) -> int:
    """Edits the image and writes the files together; returns the exit code."""
    folder = pretrained.folder(options.model)
    check(options, folder)
    card = model_card.read(folder)
    options = with_example(options, folder, card)
    image = transforms.read_file(options.image)
    check_image(options, image)
    defaults = resolved(options, card)
    edit_of(options, defaults, prompts_of(options, card))  # refuses captions and requests
    announce(options, card, defaults)
    edit_and_write(options, folder, card, image, defaults)
    return 0


def edit_and_write(options: Options, model: Path, card: ModelCard, image: XrayFile, defaults: EditDefaults) -> None:
    """The slow part: loads the model, inverts, edits, measures and writes."""
    stages = Stages()
    stages.begin("loading the model", "load")
    sd = StableDiffusion.from_pretrained(model, dtype=jnp.dtype(options.dtype))
    pixels = transforms.to_input(image.pixels, options.size or sd.size)[None]  # [1, h, w, 3]
    lost_detail, is_known_kind = check_kind(options, sd, pixels, card)
    folders = card.judges.values() if is_known_kind else ()
    judges = [Classifier.from_pretrained(pretrained.folder(folder)) for folder in folders]
    predicted = outcome.predict(judges, pixels)[0] if judges else None
    prompts = prompts_of(options, card, predicted)
    edit = with_masks(options, edit_of(options, defaults, prompts), image, pixels.shape[1])
    make_control([prompts.source], [[edit]], sd.tokenizer, defaults.steps)  # refuses words that are not in the prompt
    decoded = edit_image(sd, pixels, prompts.source, edit, defaults, seed=options.seed, stages=stages)
    effects = outcome.effects(prompts.change, *outcome.predict(judges, np.clip(decoded, -1, 1))) if judges else {}
    images = files.images_of(pixels[0], decoded)
    if options.attention:
        stages.begin("drawing where words looked", "attention")
        images["attention"] = attention_maps.sheet(sd, (prompts.source, prompts.target), images)
    lines = [*prompts.lines, *outcome.report(effects)]
    if notes := outcome.contradictions(prompts.stated, predicted or {}):
        lines.append(f"CHECK THE PROMPT: the judges see {'; '.join(notes)}")
    images[files.SHEET] = files.sheet(images, request(options), lines)
    stages.end()
    metrics = metrics_of(pixels, decoded, lost_detail)
    result = {
        "settings": settings(options, defaults),
        "source_prompt": prompts.source,
        "edited_prompt": prompts.target,
        "assumed": prompts.assumed,
        "size": pixels.shape[1],
        "succeeded": outcome.succeeded(effects),
        "effects": {name: dataclasses.asdict(effect) for name, effect in effects.items()},
        "metrics": metrics,
        "seconds": stages.seconds,
        "versions": versions(),
    }
    dicom = files.as_dicom(images["edit"], image, keep_patient=options.keep_patient) if options.dicom_out else None
    files.write(options.out, images, result, dicom)
    conclude(options, lines, result)


def check(options: Options, folder: Path) -> None:
    """Raises ValueError for options that are wrong whatever the image, before anything is read."""
    if (options.image is None) != options.example:
        raise ValueError("give one image file to edit, or --example for the image that ships with the model")
    if not folder.is_dir():
        raise ValueError(
            f"model {options.model} is neither a shipped model nor a folder; give --model phantom or a diffusers folder"
        )
    requests = requests_of(options)
    if (options.edit is None) == (not requests):
        raise ValueError("say what to change either by --edit CAPTION or by --remove, --add, --set and --drop")
    if options.keep_patient and not options.dicom_out:
        raise ValueError("--keep-patient is about edit.dcm; give --dicom-out too")
    if bool(options.blend_words) != bool(options.edit_words):
        raise ValueError("--blend-words and --edit-words belong together: give both or neither")
    for allowed, (least, most, names) in RANGES.items():
        for name in names:
            if (value := getattr(options, name)) is not None and not least <= value <= most:
                raise ValueError(f"--{name.replace('_', '-')} must be {allowed}, got {value}")
    files.check_out(options.out, overwrite=options.overwrite)


def with_example(options: Options, folder: Path, card: ModelCard) -> Options:
    """The options with the image and the caption of the model's example, where that is asked for."""
    if not options.example:
        if options.prompt is None:
            example = card.captions.example or PLAIN.describe(EXAMPLE)
            raise ValueError(f"--prompt is missing: the caption of the image, for example {example!r}")
        return options
    if card.example is None:
        raise ValueError(f"model {options.model} ships without an example; name an image file")
    image, prompt = folder / card.example.image, options.prompt or card.example.prompt
    return dataclasses.replace(options, image=image, prompt=prompt)


def check_image(options: Options, image: XrayFile) -> None:
    """Raises ValueError for an image that cannot be a chest X-ray, and for masks that do not fit it."""
    reason = plausibility.why_no_radiograph(image)
    if reason is not None and not options.any_image:
        raise ValueError(f"{options.image} cannot be a chest X-ray: {reason}; give --any-image to edit it all the same")
    if options.keep_patient and image.dicom is None:
        raise ValueError(f"--keep-patient needs a DICOM image; {options.image} is none")
    if options.size is not None:
        transforms.frame(options.size)
    for file in filter(None, (options.mask, options.keep)):
        mask_of(file, image)


def resolved(options: Options, card: ModelCard) -> EditDefaults:
    """Method, steps and strengths: those of the options, else of the model card."""
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(EditDefaults)}
    return dataclasses.replace(card.edit, **{name: value for name, value in given.items() if value is not None})


def announce(options: Options, card: ModelCard, defaults: EditDefaults) -> None:
    """Prints the planned steps, the settings and the expected time."""
    how = f"{defaults.method}, {defaults.steps} steps, guidance {defaults.guidance:g}"
    say(f"{request(options)} in {options.image.name}, with the model {options.model}: {how}")
    if card is NO_CARD:
        say("this model has no prism_card.json: steps, guidance and strengths are those of Stable Diffusion 1.5, and "
            "images of another kind are not noticed")  # fmt: skip
    elif card.duration:
        say(f"takes {card.duration}")


def prompts_of(options: Options, card: ModelCard, predicted: Mapping[str, float] | None = None) -> Prompts:
    """The captions of the edit; `predicted` are the judges' probabilities for findings that --prompt does not state."""
    if options.edit is not None:
        return captions.from_texts(options.prompt, options.edit, card.captions)
    return captions.from_requests(options.prompt, requests_of(options), card.captions, predicted)


def requests_of(options: Options) -> list[str]:
    """The changes asked for, as edit_language reads them: ["remove pacemaker"]."""
    return [f"{verb} {words}" for verb in REQUESTS for words in getattr(options, verb)]


def request(options: Options) -> str:
    return ", ".join(requests_of(options)) or "edit to a new caption"


def edit_of(options: Options, defaults: EditDefaults, prompts: Prompts) -> editing.Edit:
    """The edit without its masks; words and a blend given by hand take precedence over those that follow from it."""
    strengths = {name: getattr(defaults, name) for name in ("cross_steps", "self_steps", "weight", "blend")}
    if options.blend_words:
        strengths["blend"] = None
    edit = editing.edit_between(prompts.source, prompts.target, **strengths)
    if options.blend_words:
        strength = {} if defaults.blend is None else {"threshold": defaults.blend}
        blend = editing.Blend(words=options.blend_words, edit_words=options.edit_words, **strength)
        edit = dataclasses.replace(edit, blend=blend)
    return dataclasses.replace(edit, kind=options.kind, reweight=(edit.reweight or {}) | options.reweight)


def with_masks(options: Options, edit: editing.Edit, image: XrayFile, size: int) -> editing.Edit:
    """The edit with --mask and --keep in the frame of the network's input, bool [h, w]."""
    masks = {}
    for name in ("mask", "keep"):
        if (file := getattr(options, name)) is not None:
            masks[name] = transforms.to_input(mask_of(file, image), size)[..., 0] > 0
    return dataclasses.replace(edit, **masks)


def mask_of(file: Path, image: XrayFile) -> np.ndarray:
    """A mask, uint8 [h, w]; ValueError where its size is not the image's."""
    mask = transforms.read_file(file).pixels
    if mask.shape != image.pixels.shape:
        sizes = [f"{width}x{height}" for height, width in (mask.shape, image.pixels.shape)]
        raise ValueError(f"{file} is {sizes[0]} pixels, the image {sizes[1]}; draw masks on the image")
    return mask


def check_kind(options: Options, sd: StableDiffusion, pixels: np.ndarray, card: ModelCard) -> tuple[float, bool]:
    """The detail that the autoencoder loses, and whether the image resembles the model's training images.

    Raises:
      ValueError: it is not, and --any-image was not given.
    """
    originals = to_uint8(pixels[..., 0])
    autoencoded = image_kind.autoencode(sd, originals)
    loss = float(image_kind.lost_detail(originals, autoencoded, sd.vae.config.factor)[0])
    reason = image_kind.why_another_kind(loss, card.autoencoder)
    if reason is not None and not options.any_image:
        raise ValueError(
            f"{options.image}: {reason}; give --model one that was trained on such images, or --any-image to edit it "
            "all the same"
        )
    if reason is not None:
        say(f"warning: {reason}; the model's judges cannot judge it either")
    return loss, reason is None


def settings(options: Options, defaults: EditDefaults) -> dict[str, Any]:
    """The options as JSON, with the values of the model card in place of those that were not given."""
    values = dataclasses.asdict(options) | dataclasses.asdict(defaults)
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def conclude(options: Options, lines: Sequence[str], result: Mapping[str, Any]) -> None:
    """Prints the edit, whether it succeeded, the file to open and the next command."""
    psnr, change = result["metrics"]["reconstruction"]["psnr"], result["metrics"]["edit"]["l1"]
    for line in lines:
        print(line)
    print(f"reconstruction {psnr:.1f} dB from the original; the edit changes {change:.3f} per pixel (of 2) against it")
    if result["succeeded"] is False:
        print("the edit did not succeed: try smaller --cross-steps and --self-steps, or a larger --guidance")
    print(
        f"open: {options.out / files.SHEET}.png (original, reconstruction, edit, difference); all files: {options.out}"
    )
    if options.example:
        print("next: prism edit --example --remove effusion --out second; a model for your own X-rays: prism configs")
