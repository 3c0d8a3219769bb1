"""A causal graph given as data, and the counterfactual attributes that it gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import rng
from prism_jax.scm import folder, graphs
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.graph import Continuous, Discrete, Graph, Node
from prism_jax.scm.gumbel import GumbelMax
from prism_jax.scm.mechanisms import AffineFlow, SplineFlow

N = 64
UNIT = Continuous(low=0.0, high=1.0)


def keys(count, seed=1):
    return rng.per_example(rng.key(seed), jnp.arange(count, dtype=jnp.uint32))


def only(graph, chosen):
    """Of each attribute, whether it is the one that is set."""
    return {name: name == chosen for name in graph.names}


@jax.jit
def replayed(model, attributes, given, chosen, keys):
    """Counterfactual attributes, the noise they share with the factual ones, and the likelihood of those."""
    noise = model.abduct(attributes, keys)
    return model.intervene(attributes, given, chosen, noise), noise, model.log_prob(attributes)


@pytest.fixture(scope="module")
def phantom():
    """An untrained model of the phantom's attributes, and subjects."""
    draw = np.random.default_rng(0)
    subjects = {name: (draw.random(N) < 0.5).astype(np.int32) for name in graphs.phantom().names}
    subjects["age"] = draw.uniform(20, 80, N).astype(np.float32)
    return AttributeModel.create(graphs.phantom(), rng.key(0)), subjects


def test_setting_what_is_so_already_changes_nothing(phantom):
    model, subjects = phantom
    same, *_ = replayed(model, subjects, subjects, only(model.graph, None), keys(N))
    for name in model.graph.names:
        np.testing.assert_array_equal(same[name], subjects[name])
    again, *_ = replayed(model, subjects, subjects, only(model.graph, "age"), keys(N))
    for name in model.graph.names:  # descendants of age are replayed from their noise, and still agree
        np.testing.assert_array_equal(again[name], subjects[name])


def test_only_descendants_of_what_is_set_can_change(phantom):
    model, subjects = phantom
    flipped = {name: 1 - column if name != "age" else column for name, column in subjects.items()}
    for name, kept in (
        ("pacemaker", set(model.graph.names) - {"pacemaker"}),
        ("effusion", {"sex", "age", "pacemaker"}),
    ):
        result, *_ = replayed(model, subjects, flipped, only(model.graph, name), keys(N))
        assert (result[name] == flipped[name]).all()
        for other in kept:
            np.testing.assert_array_equal(result[other], subjects[other])


def test_a_subject_is_the_same_in_any_company(phantom):
    model, subjects = phantom
    older, chosen = {**subjects, "age": np.full(N, 85, np.float32)}, only(model.graph, "age")
    backwards = lambda columns: {name: column[::-1] for name, column in columns.items()}
    together, *_ = replayed(model, subjects, older, chosen, keys(N))
    turned, *_ = replayed(model, backwards(subjects), backwards(older), chosen, keys(N)[::-1])
    for name in model.graph.names:
        np.testing.assert_array_equal(np.asarray(turned[name])[::-1], together[name])
    assert (together["age"] == 85).all()
    assert (together["effusion"] != subjects["effusion"]).any()


def test_flows_give_back_the_values_their_noise_came_from():
    graph = graphs.morphomnist()
    values = jnp.linspace(-1, 1, N)  # the extremes too
    parents = values[::-1, None]

    def there_and_back(key):
        for name in ("thickness", "intensity"):
            mechanism = graph[name].mechanism
            params = mechanism.init(key, 1, 0)
            noise = mechanism.abduct(params, values, parents, None)
            yield mechanism.predict(params, noise, parents)

    for back in jax.jit(lambda key: list(there_and_back(key)))(rng.key(0)):
        np.testing.assert_allclose(back, values, atol=1e-5)


def test_a_saved_model_comes_back_whole(phantom, tmp_path):
    model, _ = phantom
    folder.save(model, tmp_path)
    again = folder.load(tmp_path)
    assert again.graph == model.graph
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    folder.save(AttributeModel.create(graphs.mimic_cxr(), rng.key(0)), tmp_path / "other")
    (tmp_path / "other" / "attributes.safetensors").replace(tmp_path / "attributes.safetensors")
    with pytest.raises(ValueError, match="do not fit the graph at cardiomegaly, effusion, finding"):
        folder.load(tmp_path)


def binary(name, *parents):
    return Node(name=name, values=Discrete(), mechanism=GumbelMax(), parents=parents)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Graph(nodes=(binary("a", "c"), binary("b", "a"), binary("c", "b")), image_parents=()),
            "has a cycle, .* take one of its arrows out",
        ),
        (lambda: Graph(nodes=(binary("a", "gender"),), image_parents=()), "a has the unknown parent 'gender'; .* a"),
        (lambda: Graph(nodes=(binary("a"),), image_parents=("b",)), "the image has the unknown parent 'b'"),
        (lambda: Graph(nodes=(binary("a"), binary("a")), image_parents=()), "repeat a name"),
        (lambda: Node(name="age", values=UNIT, mechanism=GumbelMax()), "age is continuous but has a GumbelMax"),
        (lambda: Node(name="sex", values=Discrete(), mechanism=AffineFlow()), "sex is discrete but has a AffineFlow"),
        (lambda: Node(name="age", values=UNIT, mechanism=SplineFlow(), parents=("b",)), "a SplineFlow does not take"),
        (lambda: Continuous(low=1.0, high=1.0), "low must be below high"),
        (lambda: Discrete(names=("only",)), "must be two or more"),
    ],
)
def test_impossible_graphs_are_refused_with_one_line(make, message):
    with pytest.raises(ValueError, match=message) as raised:
        make()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ({"age": 140.0}, "age cannot be 140; give 18 to 90 years"),
        ({"view": 2}, r"view cannot be 2; give 0 \(PA\), 1 \(AP\)"),
        ({"age": float("nan")}, "age cannot be nan"),
        ({"gender": 1}, "no attribute 'gender' in the graph"),
    ],
)
def test_impossible_interventions_are_refused_before_work(phantom, do, message):
    model, subjects = phantom
    with pytest.raises(ValueError, match=message):
        model.counterfactual(subjects, do, keys(N))
    with pytest.raises(ValueError, match="attributes lack sex, age"):
        model.counterfactual({}, {"sex": 1}, keys(N))
