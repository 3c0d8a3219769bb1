"""DICOM files that we write: marked as synthetic, without patient tags unless asked for."""

import io

import numpy as np
import pydicom
import pytest

from prism_jax.data.dicom import read as dicom_read
from prism_jax.data.dicom import secondary_capture
from tests.unit.test_dicom import dataset, encoded, malformed, ramp

WHOSE = {
    "PatientName": "Doe^Jane",
    "PatientID": "MRN-4711-X",
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "PatientAge": "062Y",
    "StudyInstanceUID": "1.2.3.4",
    "StudyDate": "20120102",
    "AccessionNumber": "A1",
    "InstitutionName": "Some Hospital",
    "StudyDescription": "Chest of Jane",
    "SeriesInstanceUID": "1.2.3.4.5",
}
KEPT = [name for name in WHOSE if name not in ("InstitutionName", "StudyDescription", "SeriesInstanceUID")]


@pytest.fixture
def source() -> pydicom.Dataset:
    return dicom_read.read(encoded(dataset(ramp(), **WHOSE, LossyImageCompression="01"))).dataset


def written(*args, **options) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(secondary_capture.encode(*args, **options)))


@pytest.mark.parametrize("shape", [(40, 60), (5, 7)])
def test_the_image_reads_back(shape):
    read = dicom_read.read(secondary_capture.encode(ramp(*shape), spacing=(0.5, 0.25)))
    np.testing.assert_array_equal(read.pixels, ramp(*shape))
    assert read.tags.spacing == (0.5, 0.25)


def test_it_says_that_it_is_synthetic(source):
    made = written(ramp(), source=source)
    assert list(made.ImageType) == ["DERIVED", "SECONDARY"]
    assert made.SeriesDescription == "synthetic counterfactual"
    assert (made.SOPClassUID, made.ConversionType) == (pydicom.uid.SecondaryCaptureImageStorage, "SYN")
    assert made.LossyImageCompression == "01"


def test_nothing_leads_back_to_the_patient(source):
    data = secondary_capture.encode(ramp(), source=source)
    for value in WHOSE.values():
        if len(value) > 2:
            assert value.encode() not in data
    made = pydicom.dcmread(io.BytesIO(data))
    assert source.SOPInstanceUID.encode() not in data
    assert not any(
        made.get(name) for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate")
    )


def test_the_patient_is_kept_where_asked_for_and_nothing_else(source):
    made = written(ramp(), source=source, keep_patient=True)
    assert {name: str(made[name].value) for name in KEPT} == {name: WHOSE[name] for name in KEPT}
    assert "InstitutionName" not in made
    reference = source.SOPInstanceUID
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == reference
    assert reference != made.SOPInstanceUID
    assert made.SeriesInstanceUID != WHOSE["SeriesInstanceUID"]


def test_every_file_has_uids_of_its_own(source):
    one, other = (written(ramp(), source=source) for _ in range(2))
    for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert one[name].value != other[name].value
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID


def test_a_patient_cannot_be_kept_from_nowhere():
    with pytest.raises(ValueError, match="only from a DICOM file"):
        secondary_capture.encode(ramp(), keep_patient=True)


def test_malformed_tags_of_the_patient_are_kept_as_they_stand():
    source = dicom_read.read(encoded(malformed(dataset(ramp(), PatientID="7"), PatientAge="62"))).dataset
    made = written(ramp(), source=source, keep_patient=True)
    assert (made.PatientID, dicom_read.read(secondary_capture.encode(ramp(), source=source)).tags.age) == ("7", None)
