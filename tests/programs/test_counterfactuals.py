"""The evaluation program on an untrained tiny model: its files, and resuming after a stop."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from prism_jax import config as configs
from prism_jax.classifier import Classifier
from prism_jax.distributed import DistributedConfig
from prism_jax.evaluation.counterfactuals import batch_size, cohort
from prism_jax.evaluation.counterfactuals import run as counterfactuals_run
from prism_jax.evaluation.counterfactuals.manifest import IMAGES, Manifest
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, Inversion
from prism_jax.evaluation.counterfactuals.strength_sweep import Sweep, Thresholds
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.subjects import Images, images_of
from prism_jax.model_card import AutoencoderError, EditDefaults, ModelCard
from prism_jax.models.densenet import DenseNet
from tests import tiny_configs
from tests.build_dataset import build
from tests.conftest import untrained


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_sd):
    """A finished run of two batches of eight, the second not full."""
    folder = tmp_path_factory.mktemp("evaluation")
    build("phantom", None, folder / "data", size=32, train=1, val=1, test=60)
    tiny_sd.save_pretrained(folder / "model")
    config = CounterfactualRun(
        run=str(folder / "run"),
        model=str(folder / "model"),
        data=str(folder / "data"),
        edits=(EditSpec(edit="remove effusion"), EditSpec(edit="add cardiomegaly, set view PA", blend=None)),
        subjects_per_edit=6,
        batch_size=8,
        inversion=Inversion(method="negative_prompt", steps=2),
    )
    counterfactuals_run.main(config)
    return folder, config


def test_a_run_leaves_a_report_metrics_and_its_configuration(run):
    folder, _ = run
    page = (folder / "run" / "report.html").read_text()
    assert "remove effusion" in page
    assert "add cardiomegaly, set view to PA" in page
    tables = json.loads((folder / "run" / "metrics.json").read_text())
    assert [row[0] for row in tables[0]["rows"]] == ["remove effusion", "add cardiomegaly, set view to PA"]
    assert tables[0]["rows"][0][1]["estimate"]["count"] == 6
    assert (folder / "run" / "config.json").is_file()


def test_the_manifest_has_a_row_an_edit_and_names_its_pictures(run):
    folder, _ = run
    manifest = Manifest(folder / "run")
    rows = manifest.rows()
    assert sorted(row["edit"] for row in rows) == ["add cardiomegaly, set view to PA"] * 6 + ["remove effusion"] * 6
    assert {row["status"] for row in rows} == {"done"}
    for row in rows:
        pictures = {name: manifest.image(row[name]) for name in IMAGES}
        assert {picture.shape for picture in pictures.values()} == {(32, 32)}
        change = np.abs(pictures["edited"].astype(int) - pictures["reconstruction"])
        np.testing.assert_allclose(row["mean_change"], change.mean(), rtol=1e-5)
        np.testing.assert_array_equal(pictures["mask"] > 0, change > 8)
        np.testing.assert_allclose(row["changed_fraction"], (change > 8).mean(), rtol=1e-5)


def test_the_model_card_fills_what_is_left_open_and_images_of_another_kind_are_refused(run, tmp_path, tiny_sd):
    _, config = run
    strict = AutoencoderError(data="phantoms", images=1, mean=0.0, p99=0.0)  # no image is of its kind
    card = ModelCard(edit=EditDefaults(steps=3, guidance=2.0, cross_steps=0.25), autoencoder=strict)
    dataclasses.replace(tiny_sd, card=card.to_json()).save_pretrained(tmp_path / "model")
    config = dataclasses.replace(
        config, run=str(tmp_path / "run"), model=str(tmp_path / "model"), inversion=Inversion(method="ddim")
    )
    config = dataclasses.replace(
        config, edits=(EditSpec(edit="remove effusion", self_steps=0.75),), subjects_per_edit=2
    )
    counterfactuals_run.main(config)
    ran = configs.read(tmp_path / "run")
    assert (ran.inversion.method, ran.inversion.steps, ran.inversion.guidance) == ("ddim", 3, 2.0)
    assert (ran.edits[0].cross_steps, ran.edits[0].self_steps) == (0.25, 0.75)
    rows = Manifest(tmp_path / "run").rows()
    assert {row["status"] for row in rows} == {"refused"}
    assert all("not of the kind this model was trained on (phantoms)" in row["error"] for row in rows)
    assert not any(row["edited"] for row in rows)
    everything = dataclasses.replace(config, run=str(tmp_path / "all"), any_image=True)
    counterfactuals_run.main(everything)
    assert {row["status"] for row in Manifest(tmp_path / "all").rows()} == {"done"}


def test_a_stopped_run_makes_only_what_is_missing(run, monkeypatch):
    folder, config = run
    before = Manifest(folder / "run").rows()
    last = sorted((folder / "run" / "parts").iterdir())[-1]
    last.unlink()  # as if it had been killed before the batch was whole
    made = []
    original = cohort.edit_batch
    monkeypatch.setattr(cohort, "edit_batch", lambda *a: made.append(1) or original(*a))
    pictures = {file: file.read_bytes() for file in (folder / "run" / "images").rglob("*.png")}
    counterfactuals_run.main(config)
    assert len(made) == 1
    assert {file: file.read_bytes() for file in (folder / "run" / "images").rglob("*.png")} == pictures
    without = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]
    assert without(Manifest(folder / "run").rows()) == without(before)


def test_processes_share_the_work_and_array_records_hold_the_same_pictures(run):
    folder, config = run
    other = dataclasses.replace(config, run=str(folder / "shared"), output="array_record")
    for index in (1, 0):
        counterfactuals_run.main(dataclasses.replace(other, processes=DistributedConfig(count=2, index=index)))
        assert (folder / "shared" / "report.html").is_file() == (index == 0)
    one, two = Manifest(folder / "run"), Manifest(folder / "shared")
    for a, b in zip(one.rows(), two.rows(), strict=True):
        assert (a["id"], a["edit"]) == (b["id"], b["edit"])
        for name in IMAGES:
            np.testing.assert_array_equal(one.image(a[name]), two.image(b[name]))


def test_one_bad_image_is_recorded_and_the_others_are_as_they_were(run, monkeypatch):
    folder, config = run
    whole = Manifest(folder / "run")
    bad = whole.rows()[0]["id"]

    def broken(*args) -> Images:
        images = images_of(*args)
        read = lambda i: images.read(i)[:100] if images.subject(i).id == bad else images.read(i)
        return dataclasses.replace(images, read=read)

    monkeypatch.setattr(counterfactuals_run, "images_of", broken)
    counterfactuals_run.main(dataclasses.replace(config, run=str(folder / "bad")))
    some = Manifest(folder / "bad")
    for a, b in zip(whole.rows(), some.rows(), strict=True):
        assert b["status"] == ("failed" if b["id"] == bad else "done")
        if b["id"] == bad:
            assert "PNG" in b["error"] or "image" in b["error"]
        else:
            np.testing.assert_array_equal(whole.image(a["edited"]), some.image(b["edited"]))
    assert "1 failed, see manifest.parquet" in (folder / "bad" / "report.html").read_text()


def test_a_sweep_keeps_the_best_that_passes_and_tells_of_all(run, scorer, monkeypatch):
    folder, config = run
    monkeypatch.setattr(counterfactuals_run.ClipScorer, "from_pretrained", lambda folder: scorer)
    none_passes = Thresholds(image=2.0, text=-1.0, direction=-1.0)
    lenient = Thresholds(image=-1.0, text=-1.0, direction=-1.0)
    for name, thresholds in (("lenient", lenient), ("strict", none_passes)):
        sweep = Sweep(clip="clip", self_steps=(0.0, 0.5), guidance=(1.0, 7.5), thresholds=thresholds)
        other = dict(run=str(folder / name), subjects_per_edit=4, inversion_store=str(folder / "kept"), sweep=sweep)
        counterfactuals_run.main(dataclasses.replace(config, **other))
    for row in Manifest(folder / "lenient").rows():
        tried = json.loads(row["candidates"])
        assert [(c["self_steps"], c["guidance"]) for c in tried] == [(0.0, 1.0), (0.0, 7.5), (0.5, 1.0), (0.5, 7.5)]
        best = max(tried, key=lambda c: c["scores"]["direction"])
        assert (row["self_steps"], row["guidance"]) == (best["self_steps"], best["guidance"])
    for row in Manifest(folder / "strict").rows():
        assert row["status"] == "refused"
        assert "image" in row["error"]
        assert Manifest(folder / "strict").image(row["edited"]).shape == (32, 32)  # an audit sees what was refused too
        assert all("image" in reason for c in json.loads(row["candidates"]) for reason in c["refusals"])


def test_the_batch_that_fits_the_memory_is_found_by_the_compiler_and_kept(run, monkeypatch):
    folder, config = run
    config = dataclasses.replace(config, run=str(folder / "sized"), subjects_per_edit=1, batch_size=None)
    measure, needed, tried = batch_size.needed_bytes, [], 0
    monkeypatch.setattr(batch_size, "needed_bytes", lambda work, n: needed.append(measure(work, n)) or needed[-1])
    for _ in range(2):  # the second start reuses the batch size of the first
        counterfactuals_run.main(config)
        tried = tried or len(needed)
        assert configs.read(folder / "sized").batch_size == max(2, jax.device_count())  # of two subjects
    weights = sum(file.stat().st_size for file in (folder / "model").rglob("*.safetensors"))
    assert len(needed) == tried > 0
    assert weights < needed[0] < 10 * weights


def test_results_of_other_settings_are_not_mixed(run):
    _, config = run
    other = dataclasses.replace(config, inversion=dataclasses.replace(config.inversion, guidance=2.0))
    with pytest.raises(ValueError, match="another inversion"):
        counterfactuals_run.main(other)


def test_no_change_to_make_is_refused(run):
    _, config = run
    with pytest.raises(ValueError, match="edits is empty"):
        counterfactuals_run.main(dataclasses.replace(config, edits=()))


def test_a_change_without_a_truth_is_refused_before_anything_is_made(run, tmp_path):
    _, config = run
    other = dataclasses.replace(config, run=str(tmp_path / "run"), edits=(EditSpec(edit="set age 12"),))
    with pytest.raises(ValueError, match="cannot set age to 12; give between 18 and 90 years"):
        counterfactuals_run.main(other)
    assert not (tmp_path / "run").exists()


def test_a_sweep_refuses_what_a_classifier_does_not_find(run, scorer, monkeypatch):
    folder, config = run
    targets = ("cardiomegaly", "effusion", "pacemaker", "support_lines", "sex", "view")
    network = untrained(DenseNet, dataclasses.replace(tiny_configs.densenet(), num_classes=len(targets)))
    Classifier.of(network, targets=targets, size=32).save_pretrained(folder / "judge")
    monkeypatch.setattr(counterfactuals_run.ClipScorer, "from_pretrained", lambda folder: scorer)
    lenient = Thresholds(image=-1.0, text=-1.0, direction=-1.0)
    sweep = Sweep(clip="clip", self_steps=(0.5,), guidance=(7.5,), thresholds=lenient, classifier=str(folder / "judge"))
    counterfactuals_run.main(dataclasses.replace(config, run=str(folder / "judged"), sweep=sweep))
    for row in Manifest(folder / "judged").rows():
        (tried,) = json.loads(row["candidates"])
        assert row["status"] == ("done" if tried["flips"] else "refused")
        assert tried["flips"] or tried["refusals"] == ["classifier does not find the wanted label"]
