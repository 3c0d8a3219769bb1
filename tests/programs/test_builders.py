"""Builds of a large tree: they survive a kill, count bad files, and are found by TFDS under their names."""

import csv
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prism_jax.data.loading import pipeline
from prism_jax.data.sources import chexpert, ingest, shard_writer, tfds_builders
from prism_jax.data.sources.build import ERRORS_FILE, digest, read_build
from prism_jax.data.sources.chexpert import ChexpertConfig
from prism_jax.data.sources.ingest import IngestConfig
from tests.build_dataset import build
from tests.unit import test_chexpert

COUNT = 2000
# The build of another process, slow enough to be killed in the middle of it.
SLOW_BUILD = """
import sys, time
from prism_jax.data.sources import ingest
from prism_jax.data.sources.build import build
from prism_jax.data.sources.chexpert import ChexpertConfig
read = ingest.read_example
ingest.read_example = lambda *args: (time.sleep(0.002), read(*args))[1]
build("chexpert", *sys.argv[1:3], ChexpertConfig(ingest=ingest.IngestConfig(threads=1)))
"""
BAD = {  # place in the table -> how the file is spoilt
    3: lambda file: file.unlink(),
    50: lambda file: file.write_bytes(b""),
    700: lambda file: file.write_bytes(file.read_bytes()[:-30]),
    1500: lambda file: file.write_text("not an image"),
}
ESCAPES = 1900  # the row whose path leaves the folder


def table() -> list[dict[str, str]]:
    """Rows like those of CheXpert's table: two images per patient."""
    path = "CheXpert-v1.0-small/train/patient{:05}/study1/view{}_frontal.jpg"
    return [test_chexpert.ROW | {"Path": path.format(i // 2, i % 2 + 1), "Edema": "1.0"} for i in range(COUNT)]


def write_tree(source: Path, rows: list[dict[str, str]]) -> Path:
    """A folder laid out like CheXpert's, with drawn images, five of them unusable."""
    for place, row in enumerate(rows):
        file = source / row["Path"].partition("/")[2]
        file.parent.mkdir(parents=True, exist_ok=True)
        assert not file.exists(), f"two rows name {file}"
        Image.fromarray(np.full((16, 20), place % 251, np.uint8)).save(file)
        if place in BAD:
            BAD[place](file)
    rows[ESCAPES] = rows[ESCAPES] | {"Path": "../../train/patient99999/study1/view1_frontal.jpg"}
    test_chexpert.write(source, *rows)
    return source


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return write_tree(tmp_path_factory.mktemp("source"), table())


@pytest.fixture(scope="module")
def built(tree, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built") / "chexpert"
    made = build("chexpert", tree, out)
    assert (sum(made.counts.values()), made.errors) == (COUNT - 5, 5)
    return out


def test_bad_files_are_listed_with_row_and_reason_and_nothing_else_is_missing(built, tree):
    with open(built / ERRORS_FILE, newline="") as file:
        errors = {int(line["row"]) - 2: line["reason"] for line in csv.DictReader(file)}
    assert list(errors) == [3, 50, 700, 1500, ESCAPES]
    said = ("No such file", "is empty", "is corrupt", "is not a", "lies outside the source folder")
    assert all(words in reason for words, reason in zip(said, errors.values(), strict=True))
    ids = {example.id for split in ("train", "val", "test") for example in pipeline.open_split(built, split)}
    assert ids == set(range(COUNT)) - errors.keys()


def test_stored_examples_are_what_table_and_files_say(built, tree):
    rows = {row.number: row for row in chexpert.read_rows(tree, ChexpertConfig())}
    for split in ("train", "val", "test"):
        examples = list(pipeline.open_split(built, split))
        assert [example.id for example in examples] == sorted(example.id for example in examples)
        for example in examples:
            row = rows[example.id]
            assert (row.split, row.path, row.patient, row.study) == (
                split,
                example.path,
                example.patient,
                example.study,
            )
            assert example.attributes == row.attributes
            assert example.image == (tree / row.path).read_bytes()


def test_no_patient_is_in_two_splits_and_order_and_number_of_rows_do_not_matter(tree, tmp_path):
    rows = chexpert.read_rows(tree, ChexpertConfig())
    before = {row.patient: row.split for row in rows}
    assert all(before[row.patient] == row.split for row in rows)
    with open(tree / "train.csv", newline="") as file:
        test_chexpert.write(tmp_path, *list(csv.DictReader(file))[:300:-1])
    after = {row.patient: row.split for row in chexpert.read_rows(tmp_path, ChexpertConfig())}
    assert after.items() < before.items()


def killed_build(tree: Path, out: Path) -> Path:
    """Kills a build with signal 9 after its first shard is finished; returns the folder of shards."""
    work = out.parent / f".{out.name}-building" / ".prism_chexpert-shards"
    child = subprocess.Popen([sys.executable, "-c", SLOW_BUILD, tree, out], stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not list(work.glob("*.json")):
            assert child.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not out.exists()
    return work


def test_a_killed_build_resumes_and_makes_the_same(built, tree, tmp_path, monkeypatch):
    out = tmp_path / "chexpert"
    work = killed_build(tree, out)
    finished = len(list(work.glob("*.json")))
    assert 1 <= finished < 4
    read, seen = ingest.read_example, []
    monkeypatch.setattr(ingest, "read_example", lambda *args: (seen.append(args[1].number), read(*args))[1])
    build("chexpert", tree, out)
    assert len(seen) == len(set(seen))
    assert len(set(seen) - BAD.keys()) <= COUNT - finished * shard_writer.SHARD_ROWS  # bad files are tried again
    assert digest(out) == digest(built)
    assert (out / ERRORS_FILE).read_text() == (built / ERRORS_FILE).read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["chexpert"]


def test_shards_of_another_configuration_or_table_are_not_reused(tree, tmp_path, monkeypatch):
    out = tmp_path / "chexpert"
    killed_build(tree, out)
    seen = []
    read = ingest.read_example
    monkeypatch.setattr(ingest, "read_example", lambda *args: (seen.append(args[1].number), read(*args))[1])
    made = build("chexpert", tree, out, max_side=8)
    assert sorted(seen) == list(range(COUNT))
    assert made.errors == 5


def test_files_that_were_fixed_after_a_failure_are_read_again(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    for patient in ("patient1", "patient2"):
        (source / "train" / patient / "study1").mkdir(parents=True)
    paths = [f"train/patient{i}/study1/a.png" for i in (1, 2)]
    test_chexpert.write(source, *({"Path": path} for path in paths))
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(source / paths[0])
    with pytest.raises(ValueError, match="1 of 2 images cannot be used"):
        build("chexpert", source, out, fractions=(1, 0, 0))
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(source / paths[1])
    made = build("chexpert", source, out, fractions=(1, 0, 0))
    assert (made.counts, made.errors) == ({"train": 2}, 0)


def test_two_builds_of_one_folder_do_not_run_at_once(tree, tmp_path):
    import fcntl

    work = tmp_path / ".chexpert-building"
    work.mkdir()
    with open(work / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process is building"):
            build("chexpert", tree, tmp_path / "chexpert")
    assert work.is_dir()


def test_more_bad_files_than_allowed_are_fatal_and_listed(tree, tmp_path):
    out = tmp_path / "chexpert"
    with pytest.raises(
        ValueError, match=r"[345] of 2000 images cannot be used, more than max_bad 0.001; .*see "
    ) as found:
        build("chexpert", tree, out, max_bad=0.001)
    assert not out.exists()
    listed = Path(str(found.value).partition("see ")[2].partition(",")[0])
    assert listed.read_text().startswith("row,path,reason\n5,")
    made = build("chexpert", tree, out, max_bad=0.0025)  # resumes, and exactly this fraction is allowed
    assert (made.errors, [path.name for path in tmp_path.iterdir()]) == (5, ["chexpert"])


def test_the_digest_tells_content_from_content(built, tree, tmp_path):
    other = tmp_path / "other"
    build("chexpert", tree, other, max_side=8)
    assert len(digest(built)) == 32
    assert digest(built) != digest(other)
    name, config = read_build(other)
    assert (name, config) == ("chexpert", ChexpertConfig(ingest=IngestConfig(max_side=8)))


def test_a_data_set_of_an_older_version_is_to_be_built_again(tmp_path):
    with pytest.raises(ValueError, match="prism data build NAME --out NEW_FOLDER makes one"):
        digest(tmp_path)
    (tmp_path / "build.json").write_text('{"name": "folder", "config": {"max_side": 1024}}')
    with pytest.raises(ValueError, match=r"has no digest: .* build it again"):
        digest(tmp_path)
    with pytest.raises(ValueError, match=r"built by another version .* build it again"):
        read_build(tmp_path)


def test_tfds_finds_what_was_built_by_name(built, tmp_path):
    standard = tmp_path / "prism_chexpert" / tfds_builders.VERSION
    shutil.copytree(built, standard)
    for data_dir in (built, tmp_path):
        source = tfds_builders.tfds.data_source("prism_chexpert", data_dir=data_dir, split="train")
        assert len(source) == len(pipeline.open_split(built, "train"))


def test_tfds_builds_by_name(tree, tmp_path):
    options = {"source": tree, "options": ChexpertConfig()}
    sources = tfds_builders.tfds.data_source("prism_chexpert", data_dir=tmp_path, builder_kwargs=options)
    assert sum(map(len, sources.values())) == COUNT - 5


def test_every_builder_is_registered():
    names = {"prism_chexpert", "prism_mimic_cxr", "prism_nih", "prism_folder", "prism_phantom"}
    found = tfds_builders.tfds.list_builders(with_community_datasets=False)
    assert names <= set(found)
    assert "rows_builder" not in found


def test_tfds_says_how_to_make_what_is_not_there_and_refuses_another_data_set(built, tmp_path):
    with pytest.raises(Exception, match="prism data build nih --source DIR"):
        tfds_builders.tfds.data_source("prism_nih", data_dir=tmp_path)
    with pytest.raises(Exception, match="holds prism_chexpert, not prism_nih"):
        tfds_builders.tfds.data_source("prism_nih", data_dir=built)
