"""Attributes read from the tags of real DICOM files."""

import dataclasses

from prism_jax.data import schema
from tests.reference.conftest import shared_folder
from tests.unit.test_ingest import ROW, example


def test_tags_of_a_dicom_file_fill_in_what_the_table_does_not_say():
    source = shared_folder("data", "dicom")
    row = dataclasses.replace(ROW, path="1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm")
    filled = example(source, row)
    assert (filled.attributes.age, filled.attributes.sex, filled.attributes.view) == (62, "M", "PA")
    assert filled.spacing == (0.168, 0.168)
    stated = example(source, dataclasses.replace(row, attributes=schema.Attributes(age=40.0, sex="F", view="AP")))
    assert (stated.attributes.age, stated.attributes.sex, stated.attributes.view) == (40, "F", "AP")
