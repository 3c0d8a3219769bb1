"""Plausibility of an image file as a chest X-ray: size, contrast and DICOM header."""

from prism_jax.data.transforms import XrayFile

MIN_SIDE = 32  # pixels
MIN_CONTRAST = 4.0  # standard deviation of the grey levels, of 255
RADIOGRAPHY = ("CR", "DX", "DR", "RG", "OT", "SC", "")  # DICOM modalities; exported radiographs are often OT or SC
CHEST = ("CHEST", "THORAX", "LUNG", "RIB", "HEART")  # in Body Part Examined


def why_no_radiograph(file: XrayFile) -> str | None:
    """The reason why a file cannot be a chest X-ray, or None. The image content is not examined."""
    height, width = file.pixels.shape
    if min(height, width) < MIN_SIDE:
        return f"it is {width}x{height} pixels, the minimum is {MIN_SIDE}x{MIN_SIDE}"
    if (contrast := float(file.pixels.std())) < MIN_CONTRAST:
        return (
            f"it is nearly uniform: its grey levels have a standard deviation of {contrast:.1f}, below {MIN_CONTRAST:g}"
        )
    if file.dicom is None:
        return None
    tags = file.dicom.tags
    if tags.modality.upper() not in RADIOGRAPHY:
        return f"its header says modality {tags.modality}; radiographs are {', '.join(filter(None, RADIOGRAPHY))}"
    body_part = tags.body_part.upper()
    if body_part and not any(part in body_part for part in CHEST):
        return f"its header says body part {tags.body_part}, not CHEST"
    return None
