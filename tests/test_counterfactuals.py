"""The evaluation program on an untrained tiny model: what it writes, and that it goes on where it stopped."""

import dataclasses
import json

import numpy as np
import pytest

from eval import cohort, counterfactuals
from eval.changes import Change
from eval.counterfactuals import CounterfactualRun, Inversion
from prism_jax.data.build import build


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_sd):
    """A finished run on six phantoms, with batches of four: the last one is not full."""
    folder = tmp_path_factory.mktemp("evaluation")
    build("phantom", None, folder / "data", size=32, train=1, val=1, test=24)
    tiny_sd.save_pretrained(folder / "model")
    config = CounterfactualRun(
        run=str(folder / "run"),
        model=str(folder / "model"),
        data=str(folder / "data"),
        changes=(Change(attribute="effusion", value=False), Change(attribute="cardiomegaly", value=True, blend=None)),
        per_change=3,
        batch_size=4,
        inversion=Inversion(steps=2, inner_steps=1),
    )
    counterfactuals.main(config)
    return folder, config


def test_a_run_leaves_a_report_metrics_and_its_configuration(run):
    folder, _ = run
    page = (folder / "run" / "report.html").read_text()
    assert "remove effusion" in page
    assert "add cardiomegaly" in page
    tables = json.loads((folder / "run" / "metrics.json").read_text())
    assert [row[0] for row in tables[0]["rows"]] == ["remove effusion", "add cardiomegaly"]
    assert tables[0]["rows"][0][1]["estimate"]["count"] == 3
    assert (folder / "run" / "config.json").is_file()


def test_a_stopped_run_makes_only_what_is_missing(run, monkeypatch):
    folder, config = run
    batches = sorted((folder / "run" / "batches").glob("*.npz"))
    with np.load(batches[-1]) as kept:
        before = dict(kept)
    batches[-1].unlink()
    made = []
    original = cohort._batch
    monkeypatch.setattr(cohort, "_batch", lambda *a, **k: made.append(1) or original(*a, **k))
    counterfactuals.main(config)
    assert len(made) == 1
    with np.load(batches[-1]) as again:
        assert all(np.array_equal(again[name], before[name]) for name in before)


def test_results_of_other_settings_are_not_mixed(run):
    _, config = run
    other = dataclasses.replace(config, inversion=dataclasses.replace(config.inversion, guidance=2.0))
    with pytest.raises(ValueError, match="another inversion"):
        counterfactuals.main(other)


def test_no_change_to_make_is_refused(run):
    _, config = run
    with pytest.raises(ValueError, match="changes is empty"):
        counterfactuals.main(dataclasses.replace(config, changes=()))
