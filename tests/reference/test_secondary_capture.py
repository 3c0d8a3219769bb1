"""Patient tags of a real DICOM file, copied into ours."""

from prism_jax.data.dicom import read as dicom_read
from prism_jax.data.dicom import secondary_capture
from tests.reference.conftest import shared_folder
from tests.unit.test_dicom import ramp


def test_the_patient_of_a_real_file_is_kept():
    for file in shared_folder("data", "dicom").glob("*.dcm"):
        real = dicom_read.read(file.read_bytes())
        kept = dicom_read.read(secondary_capture.encode(ramp(), source=real.dataset, keep_patient=True)).tags
        told = real.tags
        assert (kept.patient, kept.sex, kept.age, kept.study) == (told.patient, told.sex, told.age, told.study)
