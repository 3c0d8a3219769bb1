"""Files are written whole or not at all."""

import pytest

from prism_jax.atomic import atomic_write


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
