"""Files and folders are written whole or not at all."""

import pytest

from prism_jax.atomic import atomic_folder, atomic_write


def half_written(file):
    with atomic_write(file) as partial:
        partial.write_text("half")
        raise OSError("disk full")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "metrics.json"
    file.write_text("old")
    with pytest.raises(OSError, match="disk full"):
        half_written(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_readers_see_the_old_file_until_the_new_one_is_complete(tmp_path):
    file = tmp_path / "folder" / "metrics.json"
    for before, after in ((None, "first"), ("first", "second")):
        with atomic_write(file) as partial:
            partial.write_text(after)
            assert (file.read_text() if file.exists() else None) == before
        assert file.read_text() == after
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def half_made():
        with atomic_folder(tmp_path / "model") as partial:
            (partial / "a").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        half_made()
    assert not list(tmp_path.iterdir())
    with atomic_folder(tmp_path / "model") as partial:
        (partial / "a").write_text("whole")
        assert not (tmp_path / "model").exists()
    assert [file.name for file in tmp_path.rglob("*")] == ["model", "a"]
    with pytest.raises(ValueError, match="model exists; choose a new folder"), atomic_folder(tmp_path / "model"):
        pass
