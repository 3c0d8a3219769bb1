"""Generated images as DICOM files that cannot be mistaken for acquired images."""

from __future__ import annotations

import io
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset

DESCRIPTION = "synthetic counterfactual"
# Tags that every file must have; empty unless `keep_patient`.
PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
STUDY = ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber")


def encode(
    pixels: np.ndarray,
    *,
    source: Dataset | None = None,
    keep_patient: bool = False,
    spacing: tuple[float, float] | None = None,
) -> bytes:
    """A derived secondary capture, DICOM, of grey uint8 `pixels` [h, w], dense is bright.

    Its UIDs are new, its image type is DERIVED and SECONDARY, its series is described as a synthetic counterfactual.
    `source` is the DICOM file that the image was made from: only with `keep_patient` are the tags of its patient and
    study, its age and a reference to it copied; otherwise nothing links to the patient. `spacing` is in mm between
    rows and between columns of `pixels`.

    Raises:
      ValueError: `keep_patient` without a source.
    """
    if keep_patient and source is None:
        raise ValueError("patient tags can be kept only from a DICOM file; the image is not one")
    capture = _described(pixels)
    if spacing is not None:
        capture.PixelSpacing = [f"{mm:.6g}" for mm in spacing]
    if source is not None:
        _add_source(capture, source, keep_patient)
    buffer = io.BytesIO()
    capture.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _described(pixels: np.ndarray) -> Dataset:
    """The image with all tags that do not depend on its source."""
    from pydicom import Dataset, uid
    from pydicom.dataset import FileMetaDataset

    capture = Dataset()
    capture.file_meta = FileMetaDataset()
    capture.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    capture.file_meta.MediaStorageSOPClassUID = capture.SOPClassUID = uid.SecondaryCaptureImageStorage
    capture.SpecificCharacterSet = "ISO_IR 192"
    for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(capture, name, uid.generate_uid(prefix=None))
    capture.file_meta.MediaStorageSOPInstanceUID = capture.SOPInstanceUID
    for name in (*PATIENT, *STUDY, "SeriesNumber", "PatientOrientation"):
        setattr(capture, name, None)
    capture.Modality, capture.ConversionType, capture.InstanceNumber = "OT", "SYN", 1
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.SeriesDescription = DESCRIPTION
    capture.DerivationDescription = f"{DESCRIPTION} by prism_jax {metadata.version('prism-jax')}; not an acquired image"
    capture.set_pixel_data(np.ascontiguousarray(pixels, np.uint8), "MONOCHROME2", 8, generate_instance_uid=False)
    return capture


def _add_source(capture: Dataset, source: Dataset, keep_patient: bool) -> None:
    """Copies the tags that an image derived from `source` needs, with `keep_patient` the patient's and study's too."""
    from pydicom import Dataset

    if source.get("LossyImageCompression") == "01":
        capture.LossyImageCompression = "01"  # the standard forbids resetting it
    if not keep_patient:
        return
    for name in ("SpecificCharacterSet", *PATIENT, "PatientAge", *STUDY, "StudyInstanceUID"):
        if name in source:
            capture[name] = source[name]
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.get("SOPClassUID")
    reference.ReferencedSOPInstanceUID = source.get("SOPInstanceUID")
    capture.SourceImageSequence = [reference]
