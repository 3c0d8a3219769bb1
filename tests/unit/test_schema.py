"""The example schema survives storage and refuses invalid values."""

import dataclasses

import numpy as np
import pytest

from prism_jax.data import schema, transforms


def example(known: dict, **fields) -> schema.Example:
    return schema.Example(
        id=3,
        image=b"png",
        height=9,
        width=7,
        patient="p1",
        path="a/b.png",
        subject=-1,
        attributes=schema.Attributes(**known),
        **fields,
    )


def as_read(record: dict) -> dict:
    """What a TFDS data source makes of a record: text as bytes, a sequence of dicts as a dict of lists."""
    names = [finding["name"].encode() for finding in record["findings"]]
    states = [schema.FINDING_STATES.index(finding["state"]) for finding in record["findings"]]
    masks = {key: [mask[key] for mask in record["masks"]] for key in ("name", "png")}
    texts = {key: value.encode() for key, value in record.items() if isinstance(value, str)}
    return record | texts | {"findings": {"name": names, "state": states}, "masks": masks}


KNOWN = [
    {},
    {"age": 63.5, "sex": "F", "view": "AP Supine", "race": "Asian"},
    {"findings": {"support_lines": False, "cardiomegaly": True, "edema": None}},
]
FIELDS = [
    {},
    {"study": "s2", "text": "Clear lungs.", "spacing": (0.168, 0.143), "masks": {"lungs": b"1", "heart": b""}},
]


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("fields", FIELDS)
def test_reading_a_written_example_gives_it_back(known, fields):
    written = example(known, **fields)
    read = schema.from_record(as_read(schema.to_record(written)))
    assert read == written
    assert list(read.attributes.findings) == list(written.attributes.findings)  # order is caption order


def test_what_tfds_stores_is_what_is_read():
    import tensorflow_datasets as tfds

    features, image = schema.features(), transforms.encode_png(np.zeros((9, 7), np.uint8))
    written = dataclasses.replace(example(KNOWN[2], **FIELDS[1]), image=image)
    serializer = tfds.core.example_serializer.ExampleSerializer(features.get_serialized_info())
    stored = serializer.serialize_example(features.encode_example(schema.to_record(written)))
    read = features.deserialize_example_np(stored, decoders={"image": tfds.decode.SkipDecoding()})
    assert schema.from_record(read) == written


def test_a_record_of_an_older_schema_is_refused():
    record = as_read(schema.to_record(example({})))
    del record["masks"], record["race"]
    with pytest.raises(ValueError, match="older version: no masks, race; build it again"):
        schema.from_record(record)


@pytest.mark.parametrize("state", ["present", 2, 1.0])
def test_a_finding_that_is_neither_present_absent_nor_uncertain_is_refused(state):
    with pytest.raises(ValueError, match=r"edema must be True \(present\), False"):
        schema.Attributes(findings={"edema": state})


def test_an_unknown_sex_code_is_refused():
    with pytest.raises(ValueError, match=r"sex must be .*got 'male'"):
        schema.Attributes(sex="male")


@pytest.mark.parametrize("age", [-1.0, float("nan"), float("inf")])
def test_an_impossible_age_is_refused(age):
    with pytest.raises(ValueError, match="or None where unknown"):
        schema.Attributes(age=age)


def test_attributes_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        schema.Attributes().age = 3.0
