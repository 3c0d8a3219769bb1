"""Ingestion of one row: splits by hash, masks in the frame of the image, nothing from outside the source folder."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from prism_jax.data import schema, transforms
from prism_jax.data.sources import ingest
from prism_jax.data.sources.ingest import IngestConfig, Row

ROW = Row(number=0, line=2, path="a.png", patient="p", split="train", attributes=schema.Attributes())


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def example(folder, row: Row = ROW, **options) -> schema.Example:
    return ingest.read_example(folder, row, IngestConfig(**options))


def test_splits_follow_fractions_and_seed():
    patients = [f"p{i}" for i in range(4000)]
    options = IngestConfig(fractions=(0.7, 0.1, 0.2))
    splits = [ingest.split_of(patient, options) for patient in patients]
    for split, share in zip(("train", "val", "test"), options.fractions, strict=True):
        assert splits.count(split) / len(splits) == pytest.approx(share, abs=0.03)
    assert splits != [ingest.split_of(p, dataclasses.replace(options, split_seed=1)) for p in patients]
    assert {ingest.split_of(p, IngestConfig(fractions=(1, 0, 0))) for p in patients} == {"train"}


def test_a_split_depends_on_nothing_but_the_patient():
    assert [ingest.split_of(p, IngestConfig()) for p in ("patient00001", "1", "10000032")] == ["train", "test", "train"]


def test_16_bit_and_large_images_are_stored_as_small_8_bit_ones(tmp_path):
    deep = np.linspace(0, 65535, 40 * 80).reshape(40, 80).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(png(deep))
    stored = example(tmp_path, max_side=40)
    assert (stored.height, stored.width) == (40, 80)
    assert transforms.decode(stored.image).shape == (20, 40)


def test_an_image_is_stored_as_it_is_unless_it_must_be_encoded_again(tmp_path):
    data = png(np.full((9, 7), 90, np.uint8))
    (tmp_path / "a.png").write_bytes(data)
    assert example(tmp_path).image == data


def test_the_size_of_the_original_is_that_of_the_table_where_it_gives_one(tmp_path):
    (tmp_path / "a.png").write_bytes(png(np.zeros((9, 7), np.uint8)))
    stored = example(tmp_path, dataclasses.replace(ROW, size=(90, 70), spacing=(0.1, 0.2), study="s", text="t"))
    assert (stored.height, stored.width, stored.spacing) == (90, 70, (0.1, 0.2))
    assert (stored.study, stored.text) == ("s", "t")


@pytest.mark.parametrize("side", [None, 20])
def test_a_mask_is_stored_in_the_frame_of_the_image(tmp_path, side):
    shape = (40, 80)
    mask = np.zeros(shape, bool)
    mask[8:32, 20:60] = True
    (tmp_path / "a.png").write_bytes(png(np.zeros(shape, np.uint8)))
    Image.fromarray(mask).save(tmp_path / "m.png")  # one bit a pixel
    stored = example(tmp_path, dataclasses.replace(ROW, masks={"lungs": "m.png"}), max_side=side)
    pixels = transforms.decode(stored.masks["lungs"])
    assert pixels.shape == transforms.decode(stored.image).shape
    assert set(np.unique(pixels)) == {0, 255}
    assert (pixels > 0).mean() == pytest.approx(mask.mean(), abs=0.02)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ("none.png", "mask none.png cannot be read"),
        ("small.png", "is 3 x 3 pixels, its image 9 x 7"),
        ("/m.png", "out"),
    ],
)
def test_a_mask_that_does_not_fit_makes_the_row_unusable(tmp_path, mask, said):
    (tmp_path / "a.png").write_bytes(png(np.zeros((9, 7), np.uint8)))
    (tmp_path / "small.png").write_bytes(png(np.zeros((3, 3), np.uint8)))
    with pytest.raises(ValueError, match=said):
        example(tmp_path, dataclasses.replace(ROW, masks={"lungs": mask}))


@pytest.mark.parametrize("path", ["../a.png", "x/../../a.png", "/etc/hostname", ".."])
def test_a_path_that_leaves_the_source_folder_is_refused(tmp_path, path):
    (tmp_path / "a.png").write_bytes(png(np.zeros((9, 7), np.uint8)))
    (tmp_path / "source").mkdir()
    with pytest.raises(ValueError, match="lies outside the source folder"):
        example(tmp_path / "source", dataclasses.replace(ROW, path=path))


def test_names_that_begin_with_dots_lie_inside(tmp_path):
    (tmp_path / "..a.png").write_bytes(png(np.zeros((9, 7), np.uint8)))
    assert example(tmp_path, dataclasses.replace(ROW, path="./..a.png")).height == 9


@pytest.mark.parametrize("path", ["none.png", "folder", "a\0b.png", "x" * 5000])
def test_a_path_that_is_no_file_is_a_reason_in_one_line(tmp_path, path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        example(tmp_path, dataclasses.replace(ROW, path=path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "race"),
    [
        ("White, non-Hispanic", "White"),
        ("Asian", "Asian"),
        ("", None),
        ("Race and Ethnicity Unknown", None),
        ("Patient declined to answer", None),
    ],
)
def test_race_is_one_that_a_caption_can_say(cell, race):
    assert ingest.race(cell) == race


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fractions": (0.9, 0.2, 0.1)}, "sum to 1"),
        ({"max_bad": 2.0}, "max_bad must be between 0 and 1, got 2.0"),
        ({"threads": 0}, "threads must be at least 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        IngestConfig(**options)
