"""Real DICOM files: read upright, and any damage to them is a one-line error."""

import os

import numpy as np

from prism_jax.data.dicom import read as dicom_read
from tests.reference.conftest import shared_folder
from tests.unit.test_dicom import assert_survives

# Damaged copies of each real file; PRISM_MUTATIONS=1000 tries all 2,000.
MUTATIONS = int(os.environ.get("PRISM_MUTATIONS", "100"))


def test_the_real_files_are_upright_and_each_others_inverse():
    folder = shared_folder("data", "dicom")
    read = {file.stem: dicom_read.read(file.read_bytes()) for file in folder.glob("*.dcm")}
    inverse = read.pop("Fake_MONOHR1")
    (real,) = read.values()
    assert real.pixels.shape == (1024, 1024)
    np.testing.assert_array_equal(inverse.pixels, 255 - real.pixels)
    assert real.pixels[-256:].mean() > real.pixels[:256].mean() + 30  # the belly lies below, air beside the neck
    assert (real.tags.age, real.tags.sex, real.tags.view, real.tags.modality) == (62.0, "M", "PA", "CR")
    assert real.tags.spacing == (0.168, 0.168)
    assert inverse.tags == real.tags


# Damaged copies of each real file; PRISM_MUTATIONS=1000 tries all 2,000.


def test_no_damage_to_the_real_files_is_worse_than_one_line():
    for seed, file in enumerate(sorted(shared_folder("data", "dicom").glob("*.dcm"))):
        assert_survives(file.read_bytes(), copies=MUTATIONS, seed=seed)
