"""Editors and causal models side by side on untrained models: laws of the brackets, of abduction, and of a restart."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import get_args

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from prism_jax import config as configs
from prism_jax import rng
from prism_jax.classifier import Classifier
from prism_jax.data import transforms
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.schema import Attributes
from prism_jax.evaluation.benchmark import (
    editors,
    ground_truth,
    methods,
    queries,
)
from prism_jax.evaluation.benchmark import (
    generate as benchmark_generate,
)
from prism_jax.evaluation.benchmark import (
    judge as benchmark_judge,
)
from prism_jax.evaluation.benchmark import run as comparison
from prism_jax.evaluation.benchmark import (
    scm as benchmark_scm,
)
from prism_jax.evaluation.benchmark.methods import Baseline, CausalModel, Editor, Strength
from prism_jax.evaluation.benchmark.run import BenchmarkRun
from prism_jax.evaluation.counterfactuals.run import Inversion
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.judges import Judge
from prism_jax.models.densenet import DenseNet
from prism_jax.models.hvae import HVAE
from prism_jax.report import numbers
from prism_jax.scm import folder, graphs
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.image_mechanism import CounterfactualConfig, Effect
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.weights import hvae
from tests import tiny_configs
from tests.build_dataset import build
from tests.conftest import untrained

SIZE = 32
GRAPH = graphs.phantom()
TARGETS = ("cardiomegaly", "effusion", "pacemaker", "support_lines", "sex", "view")
CHANGES = (EditSpec(edit="remove effusion", blend=None), EditSpec(edit="set age 80", blend=None))
LEAST = dict(encoder="32b1d32,1b1", decoder="1b1,32b1", widths=(4, 8), block="light", parents=GRAPH.width)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A dozen pictures with captions, and untrained models."""
    made = tmp_path_factory.mktemp("comparison")
    write_pictures(made)
    hvae.save(untrained(HVAE, tiny_configs.hvae(**LEAST)), made / "images")
    configs.write(GRAPH, made / "images" / "graph")
    drawn = AttributeModel.create(GRAPH, rng.key(0))  # so weakly linked that an edit would hardly be followed
    linked = drawn.replace(params=jax.tree.map(lambda leaf: 10 * leaf, drawn.params))
    folder.save(linked, made / "mechanisms")
    network = untrained(DenseNet, dataclasses.replace(tiny_configs.densenet(), num_classes=len(TARGETS) + 1))
    judge = Classifier.of(network, targets=TARGETS, size=SIZE, age_scale=(60.0, 15.0))
    for scale in (1.0, 2.0):
        judge.replace(temperature=judge.temperature * scale).save_pretrained(made / f"judge-{scale:g}")
    return made


def write_pictures(at):
    """Noise, every other with an effusion, as a CSV names it; two pictures a patient."""
    draw, rows = np.random.default_rng(0), ["path,prompt,id,patient"]
    for i in range(12):
        (at / f"{i}.png").write_bytes(transforms.encode_png(draw.integers(0, 256, (SIZE, SIZE), np.uint8)))
        findings = {
            "cardiomegaly": i % 3 == 0,
            "effusion": i % 2 == 0,
            "pacemaker": False,
            "support_lines": i % 4 == 0,
        }
        known = Attributes(age=40.0 + i, sex="MF"[i % 2], view=("AP", "PA")[i % 3 == 0], findings=findings)
        rows.append(f'{i}.png,"{PLAIN.describe(known)}",{i},p{i // 2}')
    (at / "data.csv").write_text("\n".join(rows) + "\n")


def scm(models, name, **options):
    options = dict(images=(str(models / "images"),), mechanisms=str(models / "mechanisms"), t_u=1.0) | options
    return CausalModel(name=name, **options)


@pytest.fixture(scope="module")
def config(models):
    return BenchmarkRun(
        run=str(models / "run"),
        data=str(models / "data.csv"),
        edits=CHANGES,
        subjects_per_edit=4,
        size=SIZE,
        methods=(
            Baseline(name="do nothing", kind="do nothing"),
            scm(models, "all the noise"),
            scm(models, "all the noise, graph", mode="graph"),
        ),
        judges=tuple(Judge(name=name, folder=str(models / f"judge-{name}")) for name in ("1", "2")),
        batch_size=4,
        bootstrap=BootstrapConfig(resamples=20),
        shown=1,
    )


@pytest.fixture(scope="module")
def lines(config):
    """What a finished run says of every counterfactual, by row."""
    return said(config)


def said(config):
    comparison.main(config)
    table = pq.read_table(Path(config.run) / "counterfactuals.parquet").to_pylist()
    return {row.name: [line for line in table if line["method"] == row.name] for row in config.methods}


@pytest.fixture(scope="module")
def on_phantoms(config, models, tiny_sd):
    """The same of phantoms, with the rows that need a Stable Diffusion or the truth."""
    build("phantom", None, models / "phantoms", size=SIZE, train=1, val=1, test=12)
    tiny_sd.save_pretrained(models / "sd")
    model, how = str(models / "sd"), Inversion(method="edit_friendly", steps=2, guidance=2.0)
    rows = (
        *config.methods,
        Baseline(name="autoencoder only", kind="autoencoder only", model=model),
        Editor(name="RadEdit", model=model, inversion=how, strength=Strength(), mask="box"),
        Baseline(name="oracle", kind="oracle"),
        Baseline(name="oracle, graph", kind="oracle", mode="graph"),
    )
    return dataclasses.replace(config, run=str(models / "true"), data=str(models / "phantoms"), methods=rows)


@pytest.fixture(scope="module")
def true_lines(on_phantoms):
    return said(on_phantoms)


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


@pytest.mark.parametrize("mode", ground_truth.MODES)
def test_the_oracle_hands_over_the_truth_and_undoes_it(config, models, mode):
    wanted = asked(config)
    pictures = np.random.default_rng(1).integers(0, 256, (len(wanted), SIZE, SIZE), np.uint8)
    attributes = [dataclasses.replace(query.target, view="PA") for query in wanted]
    truths = ground_truth.TrueCounterfactuals(
        images={mode: pictures}, attributes={mode: np.array(attributes, object)}, masks=pictures > 0
    )
    oracle = editors.baseline_editor(Baseline(kind="oracle", mode=mode), wanted, truths, SIZE)
    made = benchmark_generate.generate(lambda: oracle, wanted, models / mode, settings={}, batch_size=4, name=mode)
    edited = np.stack([*made.images("edited", wanted)])
    assert benchmark_judge.mean_error(edited, pictures).max() == 0
    for kind in ("null", "back"):
        for query, picture in zip(wanted, made.images(kind, wanted), strict=True):
            np.testing.assert_array_equal(picture, query.original(SIZE))
    assert [made.expected[query.key] for query in wanted] == attributes


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["oracle", "oracle, graph"])
def test_the_oracle_has_no_error_on_phantoms(true_lines, name):
    assert np.nanmin(column(true_lines, name, "closer")) == 1
    for measure in ("error", "error_inside", "error_outside", "composition", "reversibility"):
        assert np.nanmax(column(true_lines, name, measure)) == 0


def test_with_all_the_noise_an_untrained_causal_model_composes_to_a_grey_level(lines):
    composition = column(lines, "all the noise", "composition")
    assert np.isfinite(composition).sum() == len({line["id"] for line in lines["all the noise"]})
    assert np.nanmax(composition) <= 1
    assert np.min(column(lines, "all the noise", "psnr")) < 100  # other parents of random weights do change pictures


def test_only_edits_are_masked_and_boxes_lie_around_masks(tiny_sd, config):
    query = asked(config)[0]
    mask = np.zeros((SIZE, SIZE), bool)
    mask[3:9, 20:22] = mask[7, 5] = True
    box = editors.box(mask, 2 / SIZE)
    assert box[1:11, 3:24].all()
    assert box.sum() == 10 * 21
    assert not editors.box(mask & False, 0.5).any()
    editor = editors.TextEditor(sd=tiny_sd, method=Editor(name="x", mask="box"), masks={query.key: box})
    np.testing.assert_array_equal(editor.edit(query).mask, box)
    assert editor.edit(queries.null(query)).mask.all()
    assert dataclasses.replace(editor, masks={}).edit(query).mask is None


@pytest.mark.nightly
def test_the_generators_own_effects_stand_under_those_of_the_rows(true_lines, on_phantoms):
    tables = {table.title: table for table in numbers.read(Path(on_phantoms.run) / "metrics.json")}
    names = [row.name for row in on_phantoms.methods]
    effects = tables["remove effusion: effects"].rows
    assert [row[0] for row in effects] == [*names, "true effect, surgical", "true effect, graph"]
    surgical = dict(zip(TARGETS, effects[len(names)][2:], strict=False))
    assert surgical["effusion"].value == -100
    assert surgical["view"].value == 0
    assert all(row[2].value == 0 for row in tables["Distance to the true counterfactual: all edits"].rows[-2:])


def asked(config):
    images = comparison.images_for(config)
    subjects = comparison.choose(images, config.edits, config.subjects_per_edit)
    return queries.queries_of(subjects, config.edits, comparison.originals_of(images, "pad"))


def test_a_second_start_makes_nothing_and_says_the_same(models, config, lines, monkeypatch):
    monkeypatch.setattr(comparison, "editor_of", None)
    before = (models / "run" / "metrics.json").read_text()
    comparison.main(config)
    assert (models / "run" / "metrics.json").read_text() == before


def test_the_tables_have_a_line_a_row(models, config, lines):
    tables = {table.title: table for table in numbers.read(models / "run" / "metrics.json")}
    names = [row.name for row in config.methods]
    assert [row[0] for row in tables["Methods and their costs"].rows] == names
    assert [row[0] for row in tables["remove effusion: effects"].rows] == names
    assert {"Effectiveness of do(effusion)", "Effectiveness of do(age)"} <= tables.keys()
    page = (models / "run" / "report.html").read_text()
    assert page.index('id="numbers"') < page.index('id="strips"')


def test_a_row_of_other_settings_is_refused_in_the_same_folder(config, lines):
    other = dataclasses.replace(config.methods[1], t_u=0.5)
    with pytest.raises(ValueError, match="images of 'all the noise' with other settings"):
        comparison.main(dataclasses.replace(config, methods=(other,)))
    with pytest.raises(ValueError, match="another subjects_per_edit"):
        comparison.main(dataclasses.replace(config, subjects_per_edit=3))


def test_what_descends_from_an_edit_follows_in_graph_mode_alone(models, config):
    wanted = asked(config)
    editor = benchmark_scm.load(scm(models, "any", mode="graph"))
    surgical = dataclasses.replace(editor, method=dataclasses.replace(editor.method, mode="surgical"))
    assert surgical.expected(wanted) == [query.target for query in wanted]
    followed = editor.expected(wanted)
    for query, found in zip(wanted, followed, strict=True):
        assert (found.sex, found.age) == (query.target.sex, query.target.age)  # no arrow leads there from an effusion
        assert query.edit != "remove effusion" or found.findings["effusion"] is False
    assert followed != [query.target for query in wanted]
    unchanged = [dataclasses.replace(query, target=query.source) for query in wanted]
    assert editor.expected(unchanged) == [query.source for query in wanted]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(methods=()), "name at least one"),
        (dict(methods=(Baseline(), Baseline())), "each differently"),
        (dict(methods=(Baseline(),), edits=()), "at least one real edit"),
        (dict(methods=(Baseline(),), size=8), "below MS-SSIM's window"),
        (dict(methods=(Editor(name="x", model="nowhere"),)), "no Stable Diffusion in nowhere"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_made(models, config, options, message):
    with pytest.raises(ValueError, match=message):
        comparison.check(dataclasses.replace(config, run=str(models / "none"), **options))


def test_a_predicted_mask_needs_no_truth_and_the_phantoms_own_does(models, tiny_sd):
    tiny_sd.save_pretrained(models / "any-sd")
    of = lambda mask: Editor(name="x", model=str(models / "any-sd"), mask=mask)
    methods.check([of("predicted")], is_phantom=False)
    for mask in methods.TRUE_MASKS:
        methods.check([of(mask)], is_phantom=True)
        with pytest.raises(ValueError, match="needs true counterfactuals"):
            methods.check([of(mask)], is_phantom=False)
    with pytest.raises(ValueError, match="mask 'drawn' is not known; use one of None, attribute, box, predicted"):
        of("drawn")


@pytest.fixture(scope="module")
def mediated(models):
    """An image mechanism whose latents mediate."""
    hvae.save(untrained(HVAE, tiny_configs.hvae(**LEAST, conditional_prior=True)), models / "mediated")
    configs.write(GRAPH, models / "mediated" / "graph")
    return str(models / "mediated")


def test_where_latents_mediate_an_effect_has_a_direct_and_an_indirect_part(models, config, mediated):
    wanted = asked(config)[:2]
    pictures = np.random.default_rng(2).integers(0, 256, (2, SIZE, SIZE), np.uint8)
    of = lambda **options: benchmark_scm.load(scm(models, "x", images=(mediated,), **options))
    made = {effect: of(effect=effect).generate(pictures, wanted) for effect in get_args(Effect)}
    for one, other in itertools.combinations(made.values(), 2):
        assert (one != other).mean() > 0.1
    assert of().method.counterfactual.effect == "total"
    assert of(alpha=0.3, t_z=0.2).method.counterfactual == CounterfactualConfig(alpha=0.3, t_z=0.2, t_u=1.0)


def test_parts_of_an_effect_are_refused_where_nothing_mediates(models, mediated):
    for effect in ("direct", "indirect"):
        methods.check([scm(models, "x", images=(mediated,), effect=effect)], is_phantom=False)
        both = scm(models, "x", images=(mediated, str(models / "images")), effect=effect)
        with pytest.raises(ValueError, match=rf"method 'x': effect {effect} needs a conditional prior, which .*images"):
            methods.check([both], is_phantom=False)
    with pytest.raises(ValueError, match="effect 'whole' is not known"):
        scm(models, "x", effect="whole")
    with pytest.raises(ValueError, match=r"alpha 1\.5"):
        scm(models, "x", alpha=1.5)


def test_mechanisms_of_another_graph_are_refused(models):
    configs.write(graphs.morphomnist(), models / "digits")
    with pytest.raises(ValueError, match="train both on one graph"):
        methods.graph_of(scm(models, "x", mechanisms=str(models / "digits")))


def test_a_killed_row_goes_on_with_the_pictures_that_are_missing(models, config, lines, monkeypatch):
    at = models / "run" / "methods" / "do-nothing"
    (at / benchmark_generate.DONE).unlink()
    next((at / "edited" / "remove-effusion").iterdir()).unlink()
    made, load = [], comparison.editor_of
    record = lambda pictures: made.append(len(pictures)) or pictures
    monkeypatch.setattr(comparison, "editor_of", lambda *args: dataclasses.replace(load(*args), change=record))
    comparison.main(dataclasses.replace(config, methods=config.methods[:1]))
    assert made == [config.batch_size]
    assert json.loads((at / benchmark_generate.DONE).read_text())["size"] == SIZE
