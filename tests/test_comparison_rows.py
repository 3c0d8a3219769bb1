"""Editors and causal models side by side on untrained models: laws of the brackets, of abduction, and of a restart."""

import dataclasses
import json

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from eval import truth
from eval.changes import Change
from eval.comparison import asks, causal, makers, making, rows, truths
from eval.comparison import program as comparison
from eval.comparison.program import ComparisonRun
from eval.comparison.rows import Bracket, CausalModel, Editor, Strength
from eval.counterfactuals import Inversion
from eval.judging import Judge
from prism_jax import config as configs
from prism_jax import rng
from prism_jax.classifier import Classifier
from prism_jax.data import transforms
from prism_jax.data.build import build
from prism_jax.data.schema import Attributes
from prism_jax.metrics.intervals import BootstrapConfig
from prism_jax.models.densenet import DenseNet, DenseNetConfig
from prism_jax.models.hvae import HVAE
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.report import numbers
from prism_jax.scm import folder, graphs
from prism_jax.scm.attributes import AttributeModel
from prism_jax.weights import hvae
from tests.conftest import untrained

SIZE = 32
GRAPH = graphs.phantom()
TARGETS = ("cardiomegaly", "effusion", "pacemaker", "support_lines", "sex", "view")
CHANGES = (Change(edit="remove effusion", blend=None), Change(edit="set age 80", blend=None))
LEAST = dict(encoder="32b1d32,1b1", decoder="1b1,32b1", widths=(4, 8), block="light", parents=GRAPH.width)


@pytest.fixture(scope="module", autouse=True)
def _compiled_plainly(_compiled_programs_go_with_their_file):
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_sd):
    """A folder of a dozen phantoms and of untrained models of every kind."""
    made = tmp_path_factory.mktemp("comparison")
    build("phantom", None, made / "data", size=SIZE, train=1, val=1, test=12)
    tiny_sd.save_pretrained(made / "sd")
    hvae.save(untrained(HVAE, HVAEConfig.tiny(**LEAST)), made / "images")
    configs.write(GRAPH, made / "images" / "graph")
    folder.save(AttributeModel.create(GRAPH, rng.key(0)), made / "mechanisms")
    network = untrained(DenseNet, dataclasses.replace(DenseNetConfig.tiny(), num_classes=len(TARGETS) + 1))
    judge = Classifier.of(network, targets=TARGETS, size=SIZE, age_scale=(60.0, 15.0))
    for scale in (1.0, 2.0):
        judge.replace(temperature=judge.temperature * scale).save_pretrained(made / f"judge-{scale:g}")
    return made


def scm(models, name, **options):
    options = dict(images=(str(models / "images"),), mechanisms=str(models / "mechanisms"), t_u=1.0) | options
    return CausalModel(name=name, **options)


@pytest.fixture(scope="module")
def config(models):
    model = str(models / "sd")
    how = Inversion(method="edit_friendly", steps=2, guidance=2.0)
    return ComparisonRun(
        run=str(models / "run"),
        data=str(models / "data"),
        changes=CHANGES,
        per_change=4,
        size=SIZE,
        rows=(
            Bracket(name="do nothing", kind="do nothing"),
            Bracket(name="autoencoder only", kind="autoencoder only", model=model),
            Editor(name="RadEdit", model=model, inversion=how, strength=Strength(), mask="box"),
            scm(models, "all the noise"),
            scm(models, "all the noise, graph", mode="graph"),
            Bracket(name="oracle", kind="oracle"),
            Bracket(name="oracle, graph", kind="oracle", mode="graph"),
        ),
        judges=tuple(Judge(name=name, folder=str(models / f"judge-{name}")) for name in ("1", "2")),
        batch_size=4,
        bootstrap=BootstrapConfig(resamples=20),
        shown=1,
    )


@pytest.fixture(scope="module")
def lines(models, config):
    """What a finished run says of every counterfactual, by row."""
    comparison.main(config)
    table = pq.read_table(models / "run" / "pictures.parquet").to_pylist()
    return {row.name: [line for line in table if line["row"] == row.name] for row in config.rows}


def column(lines, row, name):
    return np.array([line[name] for line in lines[row]], float)


def test_every_row_has_a_counterfactual_of_every_edit_of_every_subject(lines):
    keys = {name: [(line["id"], line["edit"]) for line in found] for name, found in lines.items()}
    first = keys.pop("do nothing")
    assert len(set(first)) == len(first) == 8
    assert all(other == first for other in keys.values())


def test_doing_nothing_composes_reverses_and_has_no_effect(lines):
    assert np.nanmax(column(lines, "do nothing", "composition")) == 0
    assert np.max(column(lines, "do nothing", "reversibility")) == 0
    for target in (*TARGETS, "age"):
        assert np.max(np.abs(column(lines, "do nothing", f"effect: {target}"))) == 0
        edited, null = (column(lines, "do nothing", f"1, {kind}: {target}") for kind in ("edited", "null"))
        np.testing.assert_array_equal(edited, null)


@pytest.mark.parametrize("name", ["oracle", "oracle, graph"])
def test_the_oracle_has_no_error(lines, name):
    for region in ("error", "error_inside", "error_outside"):
        assert np.nanmax(column(lines, name, region)) == 0
    assert np.nanmax(column(lines, name, "composition")) == np.max(column(lines, name, "reversibility")) == 0


def test_with_all_the_noise_an_untrained_causal_model_composes_to_a_grey_level(lines):
    composition = column(lines, "all the noise", "composition")
    assert np.isfinite(composition).sum() == len({line["id"] for line in lines["all the noise"]})
    assert np.nanmax(composition) <= 1
    assert np.max(column(lines, "all the noise", "error")) > 1  # parents of random weights do change pictures


def test_masks_are_those_of_the_attribute_or_boxes_around_them_and_nothing_else_is_masked(models, config):
    wanted = asks.asks_of(chosen(config), CHANGES)
    known = truths.of(wanted, CHANGES, truth.phantom_config(config.data))
    row = next(row for row in config.rows if row.name == "RadEdit")
    editor = makers.text_editor(dataclasses.replace(row, mask="attribute"), wanted, known)
    for ask, mask in zip(wanted, known.masks, strict=True):
        np.testing.assert_array_equal(editor.edit(ask).mask, mask)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = makers.box(mask, 0.0)
        assert box[mask].all()
        assert box.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert makers.box(mask, 1.0).all()
    assert editor.edit(asks.null(wanted[0])).mask.all()
    assert dataclasses.replace(editor, masks={}).edit(wanted[0]).mask is None


def test_a_picture_is_resized_once_and_one_of_the_right_size_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    np.testing.assert_array_equal(asks.fitted(picture, 16), picture)
    larger = transforms.resize(picture.astype(np.float32) / np.float32(127.5) - 1, SIZE, SIZE)
    np.testing.assert_array_equal(asks.fitted(picture, SIZE), transforms.to_uint8(larger))


def chosen(config):
    images = comparison.images_for(config)
    return comparison.choose(images, config.changes, config.per_change)


def test_a_second_start_makes_nothing_and_says_the_same(models, config, lines, monkeypatch):
    monkeypatch.setattr(comparison, "maker_of", None)
    before = (models / "run" / "comparison.json").read_text()
    comparison.main(config)
    assert (models / "run" / "comparison.json").read_text() == before


def test_the_tables_have_a_line_a_row_and_the_generators_own(models, config, lines):
    tables = {table.title: table for table in numbers.read(models / "run" / "comparison.json")}
    names = [row.name for row in config.rows]
    assert [row[0] for row in tables["What the rows are, and what they take"].rows] == names
    effects = tables["remove effusion: effects"].rows
    assert [row[0] for row in effects] == [*names, "the generator, surgical", "the generator, graph"]
    surgical = dict(zip(TARGETS, effects[len(names)][2:], strict=False))
    assert surgical["effusion"].value == -100
    assert surgical["view"].value == 0
    assert {"Effectiveness of do(effusion)", "Effectiveness of do(age)"} <= tables.keys()
    assert "report.html" in {file.name for file in (models / "run").iterdir()}


def test_a_row_of_other_settings_is_refused_in_the_same_folder(config, lines):
    other = dataclasses.replace(config.rows[3], t_u=0.5)
    with pytest.raises(ValueError, match="pictures of another 'all the noise'"):
        comparison.main(dataclasses.replace(config, rows=(other,)))
    with pytest.raises(ValueError, match="another per_change"):
        comparison.main(dataclasses.replace(config, per_change=3))


def test_what_descends_from_an_edit_follows_in_graph_mode_alone(models, config):
    wanted = asks.asks_of(chosen(config), CHANGES)
    maker = causal.load(scm(models, "any", mode="graph"), str(models / "images"))
    surgical = dataclasses.replace(maker, row=dataclasses.replace(maker.row, mode="surgical"))
    assert surgical.shown(wanted) == [ask.wanted for ask in wanted]
    followed = maker.shown(wanted)
    for ask, found in zip(wanted, followed, strict=True):
        assert (found.sex, found.age) == (ask.wanted.sex, ask.wanted.age)  # no arrow leads there from an effusion
        assert ask.edit != "remove effusion" or found.findings["effusion"] is False
    assert followed != [ask.wanted for ask in wanted]
    unchanged = [dataclasses.replace(ask, wanted=ask.stated) for ask in wanted]
    assert maker.shown(unchanged) == [ask.stated for ask in wanted]


def test_the_way_back_says_what_was():
    known = Attributes(age=63.0, sex="M", view="AP", findings={"effusion": True, "support_lines": False})
    for edit in ("remove effusion", "add support lines, set sex woman", "set age 40, set view PA"):
        there = Change(edit=edit)
        after = asks.captions.changed(known, there.values(known))
        back = asks.reverse(there, known)
        assert asks.captions.changed(after, back.values(after)) == known


def test_classes_that_are_findings_are_stated_and_read_again():
    graph = graphs.mimic_cxr()
    sick = Attributes(age=50.0, sex="F", race="WHITE", findings={"pleural effusion": True})
    healthy = causal.restated(sick, graph, {"finding": 0})
    assert causal.columns([sick, healthy], graph)["finding"].tolist() == [1, 0]
    assert causal.columns([causal.restated(healthy, graph, {"finding": 1})], graph)["finding"].tolist() == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(rows=()), "name at least one"),
        (dict(rows=(Bracket(), Bracket())), "each differently"),
        (dict(rows=(Bracket(),), changes=()), "name edits"),
        (dict(rows=(Bracket(),), size=8), "below MS-SSIM's window"),
        (dict(rows=(Editor(name="x", model="nowhere"),)), "no Stable Diffusion in nowhere"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_made(models, config, options, message):
    with pytest.raises(ValueError, match=message):
        comparison.check(dataclasses.replace(config, run=str(models / "none"), **options))


def test_mechanisms_of_another_graph_are_refused(models):
    configs.write(graphs.morphomnist(), models / "digits")
    with pytest.raises(ValueError, match="train both on one graph"):
        rows.graph_of(scm(models, "x", mechanisms=str(models / "digits")))


def test_a_killed_row_goes_on_with_the_pictures_that_are_missing(models, config, lines, monkeypatch):
    at = models / "run" / "rows" / "do-nothing"
    (at / making.DONE).unlink()
    next((at / "edited" / "remove-effusion").iterdir()).unlink()
    made = []
    monkeypatch.setattr(comparison, "maker_of", recording(comparison.maker_of, made))
    comparison.main(dataclasses.replace(config, rows=config.rows[:1]))
    assert len(made) == 1
    assert json.loads((at / making.DONE).read_text())["size"] == SIZE


def recording(load, made):
    """A maker that lists the batches it was asked for."""

    def loaded(*args):
        maker = load(*args)
        change = lambda pictures: made.append(len(pictures)) or pictures
        return dataclasses.replace(maker, change=change)

    return loaded
