"""The example schema survives storage, and nonsense does not get in."""

import dataclasses

import pytest

from prism_jax.data import schema


def example(**known) -> schema.Example:
    return schema.Example(
        id=3,
        image=b"png",
        height=9,
        width=7,
        patient="p1",
        path="a/b.png",
        subject=-1,
        attributes=schema.Attributes(**known),
    )


def as_read(record: dict) -> dict:
    """What a TFDS data source makes of a record: text as bytes, a sequence of dicts as a dict of lists."""
    names = [finding["name"].encode() for finding in record["findings"]]
    states = [schema.FINDING_STATES.index(finding["state"]) for finding in record["findings"]]
    texts = {key: value.encode() for key, value in record.items() if isinstance(value, str)}
    return record | texts | {"findings": {"name": names, "state": states}}


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"age": 63.5, "sex": "F", "view": "AP Supine"},
        {"findings": {"support_lines": False, "cardiomegaly": True}},
    ],
)
def test_reading_a_written_example_gives_it_back(known):
    written = example(**known)
    read = schema.from_record(as_read(schema.to_record(written)))
    assert read == written
    assert list(read.attributes.findings) == list(written.attributes.findings)  # order is caption order


def test_an_unknown_sex_code_is_refused():
    with pytest.raises(ValueError, match="sex 'male' is not"):
        schema.Attributes(sex="male")


@pytest.mark.parametrize("age", [-1.0, float("nan"), float("inf")])
def test_an_impossible_age_is_refused(age):
    with pytest.raises(ValueError, match="use None where it is unknown"):
        schema.Attributes(age=age)


def test_attributes_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        schema.Attributes().age = 3.0
