"""The files of one edit: images, a before-and-after sheet, result.json; written together or not at all."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from prism_jax.data.dicom import secondary_capture
from prism_jax.data.transforms import XrayFile
from prism_jax.pixels import to_uint8
from prism_jax.report import before_after
from prism_jax.report.figures import difference_image

RESULT, SHEET = "result.json", "before_after"
NOTICE = "The edit is a synthetic image made by a model: for research, not for the care of patients."


def check_out(out: Path, *, overwrite: bool) -> None:
    """Raises ValueError unless the folder `out` is new or empty or may be overwritten."""
    if not overwrite and out.is_dir() and any(out.iterdir()):
        kind = "holds an earlier result" if (out / RESULT).exists() else "is not empty"
        raise ValueError(f"out {out} {kind}; name another folder, or give --overwrite")


def images_of(original: np.ndarray, decoded: np.ndarray) -> dict[str, np.ndarray]:
    """The images to write: grey uint8 [h, w], and the difference of edit and reconstruction in colour [h, w, 3].

    Args:
      original: [h, w, 3] in [-1, 1].
      decoded: [2, h, w, 3], reconstruction and edit.
    """
    names = ("original", "reconstruction", "edit")
    images = {name: to_uint8(np.asarray(x).mean(-1)) for name, x in zip(names, (original, *decoded), strict=True)}
    return images | {"difference": difference_image(images["reconstruction"], images["edit"])}


def sheet(images: Mapping[str, np.ndarray], title: str, lines: Sequence[str]) -> np.ndarray:
    """Original, reconstruction, edit and difference side by side with the captions below, uint8 [h, w, 3]."""
    names = {"difference": "difference (edit - reconstruction)"}
    panels = {names.get(name, name): images[name] for name in ("original", "reconstruction", "edit", "difference")}
    return before_after.sheet(title, panels, [*lines, NOTICE])


def write(out: Path, images: Mapping[str, np.ndarray], result: Mapping[str, Any], dicom: bytes | None = None) -> None:
    """Writes `images` (name -> uint8 [h, w] or [h, w, 3]) as NAME.png, `result` as result.json, `dicom` as edit.dcm."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent, ignore_cleanup_errors=True) as hidden:
        folder = Path(hidden)
        for name, pixels in images.items():
            Image.fromarray(pixels).save(folder / f"{name}.png")
        (folder / RESULT).write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if dicom is not None:
            (folder / "edit.dcm").write_bytes(dicom)
        out.mkdir(exist_ok=True)
        for file in sorted(folder.iterdir()):
            os.replace(file, out / file.name)


def as_dicom(pixels: np.ndarray, image: XrayFile, *, keep_patient: bool) -> bytes:
    """Grey uint8 `pixels` [h, w] as DICOM; where the pixel spacing of `image` is known, theirs follows from it."""
    if image.dicom is None:
        return secondary_capture.encode(pixels)
    tags = image.dicom.tags
    scale = min(pixels.shape[0] / tags.height, pixels.shape[1] / tags.width)
    spacing = tags.spacing and (tags.spacing[0] / scale, tags.spacing[1] / scale)
    return secondary_capture.encode(pixels, source=image.dicom.dataset, keep_patient=keep_patient, spacing=spacing)
