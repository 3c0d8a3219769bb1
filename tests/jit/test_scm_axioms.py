"""Composition, reversibility and effectiveness of a causal model: of one that is perfect, and of one that is not."""

import dataclasses
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax import rng
from prism_jax.evaluation.axioms import interventions
from prism_jax.evaluation.axioms import measure as axioms_measure
from prism_jax.evaluation.axioms import run as axioms_run
from prism_jax.evaluation.axioms.generate import CounterfactualGenerator
from prism_jax.evaluation.axioms.interventions import RANDOM
from prism_jax.evaluation.axioms.measure import Evaluator
from prism_jax.evaluation.axioms.run import AxiomsRun
from prism_jax.models.hvae import HVAE
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.models.predictors import MorphoConfig, MorphoPredictor
from prism_jax.scm import folder, graphs, observed
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.image_mechanism import CounterfactualConfig
from prism_jax.scm.observed import Digits
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.weights import hvae, predictors
from tests.conftest import untrained

GRAPH = graphs.morphomnist()
N = 5


def columns(n, seed=0):
    draw = np.random.default_rng(seed)
    return {
        "thickness": draw.uniform(1.5, 4.0, n).astype(np.float32),
        "intensity": draw.uniform(80, 240, n).astype(np.float32),
        "digit": draw.integers(0, 10, n).astype(np.int32),
    }


def digits(n=N, seed=0):
    """Bright squares: thickness and intensity can be measured on them."""
    known = columns(n, seed)
    images = np.zeros((n, 16, 16, 1), np.uint8)
    for image, bright in zip(images, known["intensity"], strict=True):
        image[5:11, 4:9] = round(float(bright))
    known["intensity"] = images.max((1, 2, 3)).astype(np.float32)
    return observed.of_columns(images, known, np.arange(n), GRAPH)


def test_every_attribute_is_set_alone_and_random_sets_are_never_empty():
    known, marginal = columns(200), columns(500, seed=1)
    found = interventions.of_graph(GRAPH, known, marginal, seed=0, is_different=True)
    assert [do.name for do in found] == [*GRAPH.names, RANDOM]
    for do in found[:-1]:
        assert {name for name, chosen in do.chosen.items() if chosen.any()} == {do.name}
        assert do.chosen[do.name].all()
    joins = np.stack(list(found[-1].chosen.values()), axis=1)
    assert joins.any(1).all()
    shares = joins.mean(0)
    np.testing.assert_allclose(shares, 4 / 7, atol=0.12)  # of the 7 sets that are not empty 4 hold it
    for do in found:
        assert all(np.isin(do.given[name], marginal[name]).all() for name in GRAPH.names)
    assert (found[2].given["digit"] != known["digit"]).all()
    tenth = np.quantile(marginal["thickness"], np.linspace(0, 1, 11)[1:-1])
    moved = np.searchsorted(tenth, found[0].given["thickness"], "right")
    assert (moved != np.searchsorted(tenth, known["thickness"], "right")).all()


def test_values_that_may_be_equal_follow_the_marginal():
    known, marginal = columns(3000), columns(500, seed=1)
    given = interventions.of_graph(GRAPH, known, marginal, seed=0, is_different=False)[2].given["digit"]
    assert (given == known["digit"]).any()
    shares = np.bincount(given, minlength=10) / len(given)
    np.testing.assert_allclose(shares, np.bincount(marginal["digit"], minlength=10) / 500, atol=0.02)


def test_an_attribute_of_one_value_cannot_be_another():
    known, marginal = columns(3), columns(4) | {"digit": np.full(4, 3)}
    with pytest.raises(ValueError, match="digit has only one value in training; set is_different to False"):
        interventions.of_graph(GRAPH, known | {"digit": np.full(3, 3)}, marginal, seed=0, is_different=True)


def silent(model):
    """The model with posteriors that are N(0, 1) whatever the image: without their noise latents are always 0."""
    graphdef, state = nnx.split(model)
    kept = [
        (path, leaf.replace(jnp.zeros_like(leaf[...])) if "posterior" in path else leaf)
        for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.merge(graphdef, nnx.from_flat_state(kept))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An image mechanism without mediators, attribute mechanisms and predictors, none of them trained."""
    at = tmp_path_factory.mktemp("axioms")
    config = HVAEConfig(
        encoder="16b1d4,4b1d4,1b1", decoder="1b1,4b1,16b1", widths=(4, 8, 8), parents=12, z_dim=2, z_max_res=4
    )
    hvae.save(silent(untrained(HVAE, config)), at / "image")
    folder.save(AttributeModel.create(GRAPH, rng.key(0)), at / "mechanisms")
    predictors.save(untrained(MorphoPredictor, MorphoConfig(size=16, width=1)), at / "predictors")
    return at


ALL_NOISE = CounterfactualConfig(t_u=1.0, t_z=0.0)  # the same everywhere: one program serves all tests


def generator(folders, at):
    return CounterfactualGenerator(
        image=hvae.load(folders / "image"),
        mechanisms=folder.load(folders / "mechanisms"),
        config=ALL_NOISE,
        batch_size=4,
        seed=0,
        folder=at,
    )


def test_with_all_noise_nothing_changes_where_nothing_is_set_and_the_way_back_is_the_way_there(folders, tmp_path):
    data = digits()
    one = generator(folders, tmp_path)
    found = one.null_cycles(data, 1.0, (1, 3))
    assert sorted(found) == [1, 3]
    np.testing.assert_array_equal(found[3], data.images)
    assert (one.null_cycles(data, 0.0, (1,))[1] != data.images).any()  # an untrained network does not reconstruct
    for do in interventions.of_graph(GRAPH, data.attributes, columns(50, seed=1), seed=0, is_different=True):
        made = one.generate(do, data)
        np.testing.assert_allclose(made.after[do.name] if do.name != RANDOM else 0, do.given.get(do.name, 0), rtol=1e-6)
        if do.name == "thickness":
            assert (made.after["intensity"] != data.attributes["intensity"]).all()  # follows
            np.testing.assert_array_equal(made.after["digit"], data.attributes["digit"])
        if do.name == "intensity":
            np.testing.assert_array_equal(made.after["thickness"], data.attributes["thickness"])
        # Where a pixel is not cut off at black or white on the way.
        inside = (made.edited > 0) & (made.edited < 255)
        apart = np.abs(made.back.astype(int) - data.images)[inside]
        assert inside.any()
        assert apart.max() <= 2  # each way rounds to 8 bits


def test_what_was_made_is_not_made_again(folders, tmp_path, monkeypatch):
    data = digits(2)
    do = interventions.of_graph(GRAPH, data.attributes, columns(50), seed=0, is_different=False)[1]
    first = generator(folders, tmp_path).generate(do, data)
    monkeypatch.setattr(CounterfactualGenerator, "_counterfactuals", None)
    again = generator(folders, tmp_path).generate(do, data)
    np.testing.assert_array_equal(first.edited, again.edited)
    assert sorted(again.after) == sorted(first.after)


def evaluator(folders, data):
    return Evaluator(
        graph=GRAPH,
        predictor=predictors.load(folders / "predictors"),
        measures=axioms_measure.pixel_measures(GRAPH),
        patients=data.ids,
        batch_size=4,
        bootstrap=BootstrapConfig(resamples=20),
    )


def test_the_ruler_reads_the_intensity_of_true_counterfactuals(folders):
    data = digits()
    do = interventions.of_graph(GRAPH, data.attributes, columns(50, seed=1), seed=0, is_different=True)[1]
    after = {**data.attributes, "intensity": do.given["intensity"]}
    truth = axioms_measure.true_counterfactuals(GRAPH, data, do, after)
    found = evaluator(folders, data).measured(truth, after)
    assert found["intensity"]["error"].value < 1  # cut to whole grey levels
    unchanged_error = evaluator(folders, data).measured(data.images, after)
    expected = np.abs(data.attributes["intensity"] - after["intensity"]).mean()
    assert unchanged_error["intensity"]["error"].value == pytest.approx(expected, rel=1e-6)
    thick = interventions.of_graph(GRAPH, data.attributes, columns(50), seed=0, is_different=False)[0]
    assert axioms_measure.true_counterfactuals(GRAPH, data, thick, after) is None


def test_pictures_without_strokes_are_left_out_of_what_is_measured(folders):
    data = digits()
    images = data.images.copy()
    images[0] = 7
    assert evaluator(folders, data).measured(images, data.attributes)["thickness"]["error"].count == N - 1


@pytest.fixture
def run(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(observed, "of_digits", lambda data, graph: digits())
    monkeypatch.setattr(axioms_run, "marginal_of", lambda data, graph: columns(50, seed=1))
    return AxiomsRun(
        run=str(tmp_path / "run"),
        data=Digits(size=16, split="test"),
        images=(str(folders / "image"),) * 2,
        mechanisms=str(folders / "mechanisms"),
        predictors=str(folders / "predictors"),
        counterfactual=ALL_NOISE,
        cycles=(1, 2),
        composition_limit=2,
        batch_size=4,
        bootstrap=BootstrapConfig(resamples=20),
        shown=1,
    )


def test_the_program_writes_a_page_and_the_numbers_behind_it(run):
    axioms_run.main(run)
    page = (Path(run.run) / "report.html").read_text()
    assert "do(thickness)" in page
    assert "alpha 0.65" not in page.split("settings")[0]  # nothing mediates here
    # By fingerprint of the weights: both seeds are one here.
    assert len(list((Path(run.run) / "counterfactuals").iterdir())) == 1
    tables = {table["title"]: table for table in json.loads((Path(run.run) / "metrics.json").read_text())}
    assert len(tables["Composition"]["rows"]) == len(run.t_us) * len(run.cycles)
    assert len(tables["Effectiveness, by predictors"]["rows"]) == 1 + len(GRAPH.names) + 1
    with pytest.raises(ValueError, match="holds images with another t_us"):
        axioms_run.main(dataclasses.replace(run, t_us=(1.0,)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(images=()), "name an image mechanism"),
        (dict(t_us=(-1.0,)), "t_us must be 0 or more"),
        (dict(cycles=(0,)), "cycles 1 or more"),
        (dict(data=Digits(size=32)), "takes 16 pixels and 12 channels of parents, data and mechanisms give 32 and 12"),
        (
            dict(counterfactual=CounterfactualConfig(effect="direct")),
            "has no conditional prior",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(run, wrong, message):
    with pytest.raises(ValueError, match=message):
        axioms_run.check(dataclasses.replace(run, **wrong))
