"""Patient tags of a real DICOM file, copied into ours."""

from prism_jax.data.dicom import read as dicom_read
from prism_jax.data.dicom import secondary_capture
from tests.reference.conftest import shared_folder
from tests.unit.test_dicom import ramp


def test_the_patient_of_a_real_file_is_kept():
    for file in shared_folder("data", "dicom").glob("*.dcm"):
        real = dicom_read.read(file.read_bytes())
        derived = dicom_read.read(secondary_capture.encode(ramp(), source=real.dataset, keep_patient=True))
        kept = derived.tags
        told = real.tags
        assert (kept.sex, kept.age, kept.study) == (told.sex, told.age, told.study)
        assert derived.dataset.PatientID == real.dataset.PatientID
