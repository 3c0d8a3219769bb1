"""ChestX-ray14's table with children, and images where the archives unpack them."""

import csv
from pathlib import Path

import pytest

from prism_jax.data.sources import nih
from prism_jax.data.sources.nih import NihConfig

HEADER = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender")
HEADER += ("View Position", *nih.SIZE, *nih.SPACING)
ROW = ("00000001_000.png", "Cardiomegaly|Pleural_Thickening", "0", "1", "57", "M", "PA", "2682", "2749", "0.14", "0.15")


def rows_of(folder: Path, *changes: dict[str, str], name: str = nih.TABLES[0], **options) -> list:
    with open(folder / name, "w", newline="") as file:
        rows = [dict(zip(HEADER, ROW, strict=True)) | change for change in changes]
        file.write(",".join(HEADER) + "\n")  # the published header is not quoted
        csv.writer(file).writerows(row.values() for row in rows)
    return nih.read_rows(folder, NihConfig(**options))


def test_a_row_is_understood(tmp_path):
    (row,) = rows_of(tmp_path, {})
    assert row.attributes.findings == {"Cardiomegaly": True, "Pleural_Thickening": True}
    assert (row.patient, row.study, row.path) == ("1", "00000001_000", "images/00000001_000.png")
    assert (row.size, row.spacing) == ((2749, 2682), (0.15, 0.14))  # rows first


def test_images_are_located_where_the_archives_unpack_them(tmp_path):
    (tmp_path / "images_002" / "images").mkdir(parents=True)
    (tmp_path / "images_002" / "images" / ROW[0]).touch()
    assert rows_of(tmp_path, {})[0].path == f"images_002/images/{ROW[0]}"


def test_the_older_table_with_its_ages_is_read_where_the_newer_is_absent(tmp_path):
    ages = ("058Y", "414", "")
    rows = rows_of(tmp_path, *({"Patient Age": age} for age in ages), name=nih.TABLES[1])
    assert [row.attributes.age for row in rows] == [58, None, None]
    rows_of(tmp_path, {"Patient Age": "9"})
    assert nih.read_rows(tmp_path, NihConfig())[0].attributes.age == 9
    assert len(nih.read_rows(tmp_path, NihConfig(table=nih.TABLES[1]))) == 3


def test_the_official_test_split_is_the_publishers_list(tmp_path):
    names = [f"{i:08}_000.png" for i in range(400)]
    (tmp_path / nih.TEST_LIST).write_text("\n".join(names[:100]))
    changes = [{"Image Index": name, "Patient ID": name[:8]} for name in names]
    splits = [row.split for row in rows_of(tmp_path, *changes, official_split=True)]
    assert set(splits[:100]) == {"test"}
    assert 0 < splits[100:].count("val") < 80
    assert "test" not in splits[100:]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"Finding Labels": "Cardiomegaly|Blob"}, "unknown finding Blob"),
        ({"Finding Labels": "No Finding|Mass"}, "'No Finding' stands beside Mass"),
        ({"Patient Age": "old"}, "Patient Age 'old' is not a number"),
        ({"Patient Gender": "X"}, "Patient Gender 'X'"),
        ({"View Position": "LL"}, "View Position 'LL'"),
    ],
)
def test_a_cell_that_makes_no_sense_is_named_with_its_row(tmp_path, cells, said):
    with pytest.raises(ValueError, match=rf"v2020\.csv, row 3 .*{said}"):
        rows_of(tmp_path, {}, cells)


def test_the_official_split_without_the_list_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"official_split needs .*test_list\.txt, which is missing"):
        rows_of(tmp_path, {}, official_split=True)
