"""Tables as CSV and JSON lines, plain and gzipped, read to the same rows; broken ones say what is wrong."""

import gzip

import pytest

from prism_jax.data.sources import tables

CSV = "id,age,findings\na,63,Edema;Mass\n\nb,,\n"
JSON = '{"id": "a", "age": 63, "findings": ["Edema", "Mass"]}\n\n{"id": "b", "age": null, "extra": true}\n'


def written(path, text: str):
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("end", ["", ".gz"])
def test_csv_and_json_lines_give_the_same_rows(tmp_path, end):
    csv = tables.read(written(tmp_path / f"a.csv{end}", "\ufeff" + CSV))
    json = tables.read(written(tmp_path / f"a.jsonl{end}", JSON))
    assert list(csv[0]) == ["id", "age", "findings"]
    assert csv == [dict(id="a", age="63", findings="Edema;Mass"), dict(id="b", age="", findings="")]
    assert [{key: row[key] for key in csv[0]} for row in json] == csv
    assert [row["extra"] for row in json] == ["", "yes"]


def test_a_short_row_has_empty_cells(tmp_path):
    assert tables.read(written(tmp_path / "a.csv", "a,b\n1\n")) == [{"a": "1", "b": ""}]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.xlsx", "", "is no table; use .csv or .jsonl"),
        ("a.csv", "a,b\n", "has no rows"),
        ("a.csv", "", "has no rows"),
        ("a.csv", "a,b,a\n1,2,3\n", "has the column a twice"),
        ("a.jsonl", '{"a": 1}\n{"a":', "line 2 is not JSON"),
        ("a.jsonl", "[1]", "line 1 is not a JSON object"),
        ("a.jsonl", '{"a": {"b": 1}}', "line 1: .* is an object"),
        ("a.jsonl", '{"a": ["x;y"]}', "line 1: .* holds the separator ';'"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path, name, text, said):
    with pytest.raises(ValueError, match=said) as caught:
        tables.read(written(tmp_path / name, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"\x1f\x8b\x08\x00broken", b"a,b\n1,2\n", gzip.compress(b"a,b\n1,2\n" * 99)[:20]],
    ids=["broken", "plain", "cut"],
)
def test_a_broken_gzip_file_is_refused(tmp_path, data):
    (tmp_path / "a.csv.gz").write_bytes(data)
    with pytest.raises(ValueError, match="cannot be read as a table"):
        tables.read(tmp_path / "a.csv.gz")


def test_text_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes("a\nM\u00fcller\n".encode("latin-1"))
    with pytest.raises(ValueError, match="cannot be read as a table in UTF-8"):
        tables.read(tmp_path / "a.csv")


def test_a_missing_table_or_column_is_named_with_what_is_there(tmp_path):
    file = written(tmp_path / "b.csv.gz", CSV)
    assert tables.find(tmp_path, "b.csv") == file
    with pytest.raises(ValueError, match=r"no table .*a\.csv; the folder has b\.csv\.gz"):
        tables.find(tmp_path, "a.csv")
    with pytest.raises(ValueError, match="has no column sex; it has id, age, findings"):
        tables.load(tmp_path, "b.csv", ("id", "sex"))
