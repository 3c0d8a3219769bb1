"""Writing made pictures as DICOM files that nobody can take for an acquired image."""

from __future__ import annotations

import io
from importlib import metadata
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset

DESCRIPTION = "synthetic counterfactual"
# Tags that every file must have; they stay empty unless the patient's are asked for.
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
    study, its age and a reference to it copied; otherwise nothing leads back. `spacing` is in mm between rows and
    between columns of `pixels`.

    Raises:
      ValueError: `keep_patient` without a source.
    """
    if keep_patient and source is None:
        raise ValueError("patient tags can be kept only from a DICOM file; the image is none")
    made = _described(pixels)
    if spacing is not None:
        made.PixelSpacing = [f"{mm:.6g}" for mm in spacing]
    if source is not None:
        _add_source(made, source, keep_patient)
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _described(pixels: np.ndarray) -> Dataset:
    """The picture, and everything about it that does not depend on what it was made from."""
    from pydicom import Dataset, uid
    from pydicom.dataset import FileMetaDataset

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = uid.SecondaryCaptureImageStorage
    made.SpecificCharacterSet = "ISO_IR 192"
    for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(made, name, uid.generate_uid(prefix=None))
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    for name in (*PATIENT, *STUDY, "SeriesNumber", "PatientOrientation"):
        setattr(made, name, None)
    made.Modality, made.ConversionType, made.InstanceNumber = "OT", "SYN", 1
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.SeriesDescription = DESCRIPTION
    made.DerivationDescription = f"{DESCRIPTION} by prism_jax {metadata.version('prism-jax')}; not an acquired image"
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
    data = np.ascontiguousarray(pixels, np.uint8).tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OB"
    return made


def _add_source(made: Dataset, source: Dataset, keep_patient: bool) -> None:
    """What must be said of an image made from `source`, and with `keep_patient` whose it is."""
    from pydicom import Dataset

    if source.get("LossyImageCompression") == "01":
        made.LossyImageCompression = "01"  # the standard forbids to take it back
    if not keep_patient:
        return
    for name in ("SpecificCharacterSet", *PATIENT, "PatientAge", *STUDY, "StudyInstanceUID"):
        if name in source:
            made[name] = source[name]
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.get("SOPClassUID")
    reference.ReferencedSOPInstanceUID = source.get("SOPInstanceUID")
    made.SourceImageSequence = [reference]
