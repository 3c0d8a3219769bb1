"""The data benchmark: both sides get the same pictures and settings; PyTorch is not needed for that."""

from types import SimpleNamespace

import numpy as np

from benchmarks import data, data_side
from prism_jax.data import transforms
from prism_jax.data.loading import pipeline


def test_ours_and_the_peer_take_turns_with_the_same_workers():
    rows = data.settings(data.Options(workers=(1, 2), peer_python="python"))
    ours = [row.workers for row in rows if row.program == "prism_jax" and row.workers]
    assert ours == [row.workers for row in rows if row.program == "torch" and row.workers] == [1, 2]
    assert len(set(rows)) == len(rows)
    assert not any(row.program == "torch" for row in data.settings(data.Options()))


def test_both_sides_read_the_same_pictures(tmp_path):
    data.write(tmp_path, count=3, size=32)
    files = data_side.Files(sorted(map(str, (tmp_path / "files").glob("*.jpg"))), 32)
    batch = next(pipeline.batches(pipeline.open_split(tmp_path / "built", "train"), 3, size=32))
    np.testing.assert_array_equal([files[i]["image"] for i in range(3)], batch["image"])
    assert transforms.decode((tmp_path / "files" / "00000.jpg").read_bytes()).shape == (32, 32)


def test_a_side_prints_what_it_measured(tmp_path, capsys):
    data.write(tmp_path, count=4, size=32)
    settings = dict(program="prism_jax", folder=str(tmp_path), size=32, batch_size=2, warm_up=1, batches=2)
    data_side.main(SimpleNamespace(**settings, workers=0, threads=1))
    assert '"per_second"' in capsys.readouterr().out


def test_the_table_has_medians_and_extremes():
    results = [{"per_second": rate, "cpu_ms": 2.0} for rate in (100.0, 300.0, 200.0)]
    lines = data.table({data.Setting("prism_jax", 1, 1): results}).splitlines()
    assert [cell.strip() for cell in lines[-1].split("|")[4:8]] == ["200", "100", "300", "2.00"]
