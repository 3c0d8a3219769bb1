"""The phantom obeys its causal model, and its images show what the model says and nothing else."""

import dataclasses
import hashlib
import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax.data import phantom
from prism_jax.data.phantom import anatomy, geometry, shapes
from prism_jax.data.phantom.generate import _render_images, _settle
from tests.interventions import attributes

SIZE = 64
N = 6
DRAWS = 100_000
DEFAULT = phantom.Equations()

picture = partial(phantom.generate, range(N), size=SIZE, batch=N)


@pytest.fixture(scope="module")
def factual():
    return picture()


@pytest.fixture(scope="module")
def noise():
    """Exogenous noise of many subjects, as far as attributes need it."""
    drop = ("anatomy", "vessels", "line_jitter")  # the larger part

    @jax.jit
    def many(indices):
        u = jax.vmap(partial(phantom.exogenous, 0))(indices)
        return u.replace(**{name: jnp.zeros(()) for name in drop})

    return many(jnp.arange(DRAWS))


@pytest.fixture(scope="module")
def draws(noise):
    return draw(noise)


def draw(noise, do=None, equations=DEFAULT):
    """Attributes of many subjects, float64; the equations are elementwise, so they take all at once."""
    facts = attributes(noise, equations, do or {})
    return {name: np.broadcast_to(np.asarray(value, np.float64), DRAWS) for name, value in facts.items()}


def effect_mask(indices, attribute, **options):
    """Where switching `attribute` alone changes the display."""
    return phantom.change_mask(indices, {attribute: 1}, before={attribute: 0}, **options)


def sigmoid(logit):
    return 1.0 / (1.0 + np.exp(-logit))


@jax.jit
def render(facts, u):
    return phantom.render(facts, u, SIZE)


@jax.jit
def subject(index):
    u = phantom.exogenous(0, index)
    return attributes(u, DEFAULT), u


# 1 determinism


def test_bytes_do_not_depend_on_the_company(factual):
    again = phantom.generate([4, 1], size=SIZE, batch=N)
    np.testing.assert_array_equal(again.images, factual.images[[4, 1]])
    for name in phantom.ATTRIBUTES:
        np.testing.assert_array_equal(again.attributes[name], factual.attributes[name][[4, 1]])


def test_another_process_with_another_batch_renders_the_same_bytes(factual):
    program = (
        "import hashlib; from prism_jax.data import phantom;"
        f"images = phantom.generate(range({N}), size={SIZE}, batch=4).images;"
        "print(hashlib.sha256(images.tobytes()).hexdigest())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == hashlib.sha256(factual.images.tobytes()).hexdigest(), done.stderr


def test_seed_and_index_each_change_the_subject(factual):
    other = phantom.generate(range(N), size=SIZE, batch=N, seed=1)
    for image in factual.images[1:]:
        assert not np.array_equal(image, factual.images[0])
    assert not np.array_equal(other.images[0], factual.images[0])


# 2-4 counterfactuals


@pytest.mark.parametrize("mode", ["graph", "surgical"])
def test_setting_attributes_to_what_they_are_changes_nothing(factual, mode):
    same = picture(do=factual.attributes, mode=mode)
    np.testing.assert_array_equal(same.images, factual.images)
    np.testing.assert_array_equal(picture(do={}, mode=mode).images, factual.images)


def test_counterfactual_leaves_pixels_outside_the_effect_alone(factual):
    twin = picture(do={"pacemaker": 1 - factual.attributes["pacemaker"]}, mode="surgical")
    distance = np.abs(twin.images.astype(int) - factual.images)
    for index in range(N):
        facts, u = subject(index)
        clean = render(facts, u)
        moved = render(facts | {"pacemaker": 1 - facts["pacemaker"]}, u)
        assert distance[index][np.asarray(clean == moved)].max() <= 1
        assert (distance[index] > 8).mean() > 0.005  # and the device is there


def test_flipping_and_flipping_back_returns_the_factual_image(factual):
    there = picture(do={"effusion": 1 - factual.attributes["effusion"]}, mode="surgical")
    assert not np.array_equal(there.images, factual.images)
    back = picture(do={"effusion": 1 - there.attributes["effusion"]}, mode="surgical")
    np.testing.assert_array_equal(back.images, factual.images)


def test_surgical_leaves_descendants_factual_and_graph_replays_them(noise, draws):
    surgical = attributes(noise, DEFAULT, {"age": 88.0}, "surgical")
    graph = draw(noise, {"age": 88.0})
    for name in ("cardiomegaly", "effusion", "pacemaker", "support_lines", "view"):
        np.testing.assert_array_equal(surgical[name], draws[name])
        assert not np.array_equal(graph[name], draws[name])
    older = draws["age"] < 88.0
    assert (graph["effusion"] >= draws["effusion"])[older].all()  # one uniform: the coupling is monotone


def test_new_values_and_new_indices_do_not_compile_anew(factual):
    picture(do={"age": 40.0})
    before = _settle._cache_size(), _render_images._cache_size()
    phantom.generate(range(7, 7 + N), size=SIZE, batch=N, do={"age": 71.5}, seed=3)
    assert (_settle._cache_size(), _render_images._cache_size()) == before


# 5 masks


def test_masks_lie_in_their_anatomical_boxes():
    x, y = (np.asarray(axis) for axis in shapes.grid(SIZE))
    boxes = {  # attribute: x range, y range, smallest and largest area
        "cardiomegaly": ((-0.55, 0.90), (-0.55, 0.70), (0.03, 0.18)),
        "effusion": ((-0.95, 0.95), (-0.55, 0.85), (0.02, 0.30)),
        "pacemaker": ((-0.35, 0.90), (-0.95, 0.55), (0.03, 0.09)),
        "support_lines": ((-1.0, 1.0), (-1.0, 1.0), (0.02, 0.15)),
        "sex": ((-1.0, 1.0), (-1.0, 1.0), (0.3, 0.7)),
        "view": ((-1.0, 1.0), (-1.0, 1.0), (0.4, 0.8)),
    }
    for attribute, (across, down, area) in boxes.items():
        masks = effect_mask(range(N), attribute, size=SIZE, batch=N)
        assert masks.dtype == bool
        box = (x >= across[0]) & (x <= across[1]) & (y >= down[0]) & (y <= down[1])
        assert not (masks & ~box).any(), attribute
        areas = masks.mean((1, 2))
        assert area[0] < areas.min(), (attribute, areas)
        assert areas.max() < area[1], (attribute, areas)


def test_a_mask_covers_what_a_flip_moves(factual):
    mask = effect_mask(range(N), "cardiomegaly", size=SIZE, batch=N)
    twin = picture(do={"cardiomegaly": 1 - factual.attributes["cardiomegaly"]}, mode="surgical")
    moved = np.abs(twin.images.astype(int) - factual.images) > 4
    assert moved.any()
    assert not (moved & ~mask).any()


def test_the_mask_of_a_change_is_that_of_its_flips_and_covers_what_several_move(factual):
    options = dict(size=SIZE, batch=N)
    flipped = factual.attributes["pacemaker"] == 0
    mask = phantom.change_mask(range(N), {"pacemaker": 1}, **options)
    expected = effect_mask(range(N), "pacemaker", **options) & flipped[:, None, None]
    np.testing.assert_array_equal(mask, expected)
    several = {"pacemaker": 1, "effusion": 1, "age": 30.0}
    moved = np.abs(picture(do=several, mode="surgical").images.astype(int) - factual.images) > 4
    assert moved.any()
    assert not (moved & ~phantom.change_mask(range(N), several, **options)).any()


def test_effusion_lies_on_the_side_that_the_truth_names(factual):
    mask = effect_mask(range(N), "effusion", size=SIZE, batch=N)
    truth = picture(do={"effusion": 1}, mode="surgical").truth
    half = SIZE // 2
    np.testing.assert_array_equal(mask[:, :, : half - 4].any((1, 2)), truth["effusion_right"] == 1)
    np.testing.assert_array_equal(mask[:, :, half + 4 :].any((1, 2)), truth["effusion_left"] == 1)
    without = picture(do={"effusion": 0}, mode="surgical").truth
    assert not any(without[name].any() for name in ("effusion_left", "effusion_right", "effusion_severity"))


# 6 structure


def test_attributes_follow_their_equations(draws):
    a = (draws["age"] - 60.0) / 15.0
    card, eff, lines = draws["cardiomegaly"], draws["effusion"], draws["support_lines"]
    expected = {
        "sex": 0.5 + 0.0 * a,
        "cardiomegaly": sigmoid(-1.0 + 0.55 * a + 0.25 * draws["sex"]),
        "effusion": sigmoid(-0.9 + 0.9 * a + 0.5 * card),
        "pacemaker": sigmoid(-3.2 + 2.6 * card + 0.5 * a),
        "support_lines": sigmoid(-1.3 + 1.3 * eff + 0.4 * card),
        "view": sigmoid(-0.8 + 1.6 * lines + 0.5 * eff),
    }
    everybody = np.ones(DRAWS, bool)
    causes = [
        everybody,
        draws["age"] > 75,
        draws["age"] < 45,
        draws["sex"] == 1,
    ]  # of every attribute's equation
    later = {"effusion": [card == 1], "pacemaker": [card == 1, card == 0], "support_lines": [eff == 1]}
    later["view"] = [lines == 1, lines == 0, eff == 1]
    for name, p in expected.items():
        strata = [everybody] if name == "sex" else causes + later.get(name, [])
        for stratum in strata:  # upstream of the attribute, so the equation holds within each
            z = (draws[name] - p)[stratum].sum() / np.sqrt((p * (1 - p))[stratum].sum())
            assert abs(z) < 3.0, (name, z)


def test_moments_are_the_published_ones(draws):
    card, pm, eff = draws["cardiomegaly"] == 1, draws["pacemaker"], draws["effusion"]
    old, young = draws["age"] >= 75, draws["age"] < 45
    found = {
        "sex": draws["sex"].mean(),
        "card": card.mean(),
        "eff": eff.mean(),
        "pm": pm.mean(),
        "lines": draws["support_lines"].mean(),
        "view": draws["view"].mean(),
        "pm | card": pm[card].mean(),
        "pm | no card": pm[~card].mean(),
        "card | pm": card[pm == 1].mean(),
        "eff | old": eff[old].mean(),
        "eff | young": eff[young].mean(),
        "AP | lines": draws["view"][draws["support_lines"] == 1].mean(),
        "AP | no lines": draws["view"][draws["support_lines"] == 0].mean(),
    }
    published = (0.51, 0.31, 0.36, 0.155, 0.34, 0.475, 0.41, 0.04, 0.82, 0.63, 0.11, 0.75, 0.33)
    np.testing.assert_allclose(list(found.values()), published, atol=0.02)
    np.testing.assert_allclose([draws["age"].mean(), draws["age"].std()], [60.8, 14.1], atol=0.2)


def test_interventions_have_the_published_effects(noise, draws):
    effect = lambda name, high, low: draw(noise, high)[name].mean() - draw(noise, low)[name].mean()
    assert effect("effusion", {"age": 80.0}, {"age": 40.0}) == pytest.approx(0.50, abs=0.015)
    assert effect("pacemaker", {"age": 80.0}, {"age": 40.0}) == pytest.approx(0.23, abs=0.015)
    assert effect("pacemaker", {"cardiomegaly": 1}, {"cardiomegaly": 0}) == pytest.approx(0.33, abs=0.015)
    assert effect("view", {"effusion": 1}, {"effusion": 0}) == pytest.approx(0.23, abs=0.015)
    np.testing.assert_array_equal(draw(noise, {"pacemaker": 1})["cardiomegaly"], draws["cardiomegaly"])


def test_separated_attributes_are_independent(draws):
    a, card = (draws["age"] - 60.0) / 15.0, draws["cardiomegaly"]
    given_causes = {
        "pacemaker": draws["pacemaker"] - sigmoid(-3.2 + 2.6 * card + 0.5 * a),
        "effusion": draws["effusion"] - sigmoid(-0.9 + 0.9 * a + 0.5 * card),
    }
    pairs = [tuple(given_causes.values()), (draws["sex"], draws["age"])]
    pairs += [(draws["group"], draws[name]) for name in phantom.ATTRIBUTES[:-1]]
    for one, other in pairs:
        assert abs(np.corrcoef(one, other)[0, 1]) * np.sqrt(DRAWS) < 4.0


def test_presets_set_the_slope_from_cardiomegaly_to_pacemaker(noise, draws):
    def rates(name):
        facts = draw(noise, equations=phantom.Equations.preset(name))
        card = facts["cardiomegaly"] == 1
        return facts["pacemaker"][card].mean(), facts["pacemaker"][~card].mean(), facts

    assert rates("strong")[0] > 0.8
    present, absent, _ = rates("reversed")
    assert present < 0.05 < 0.15 < absent
    present, absent, facts = rates("none")
    assert present == pytest.approx(absent, abs=0.01)
    for name in phantom.ATTRIBUTES:  # the marginal rates stay those of the default
        assert facts[name].mean() == pytest.approx(draws[name].mean(), abs=0.01), name


# 8 nothing leaks


def test_an_image_depends_on_noise_only_through_what_it_shows():
    facts, u = subject(3)
    healthy = facts | {name: jnp.int32(0) for name in ("cardiomegaly", "effusion", "pacemaker", "support_lines")}
    hidden = ("age", "group", "cardiomegaly_severity", "effusion_severity", *phantom.BINARY)
    other = u.replace(
        **{name: 1.0 - getattr(u, name) for name in hidden},
        effusion_side=1.0 - u.effusion_side,
        pacemaker_jitter=-u.pacemaker_jitter,
        line_jitter=-u.line_jitter,
        line_choice=1.0 - u.line_choice,
    )
    np.testing.assert_array_equal(render(healthy, u), render(healthy, other))
    regrouped = healthy | {"group": 2 - healthy["group"]}
    np.testing.assert_array_equal(render(healthy, u), render(regrouped, u))


def test_anatomy_is_drawn_independently_of_the_attributes_noise():
    count, names = 20_000, (*phantom.BINARY, "age", "group")
    u = jax.jit(lambda indices: jax.vmap(partial(phantom.exogenous, 0))(indices).replace(vessels=None))(
        jnp.arange(count)
    )
    causes = np.stack([np.asarray(getattr(u, name)) for name in names])
    looks = np.concatenate([np.asarray(u.anatomy).T, np.asarray(u.effusion_side).T, np.asarray(u.line_choice).T])
    z = np.corrcoef(causes, looks)[: len(names), len(names) :] * np.sqrt(count)
    assert np.abs(z).max() < 4.5


def test_pixel_noise_has_its_scale_and_ignores_attributes():
    _, u = subject(2)
    finish = jax.jit(partial(phantom.finish, size=SIZE))
    flat = np.asarray(finish(jnp.full((SIZE, SIZE), 0.5), u), float)
    assert flat.std() / 255.0 == pytest.approx(0.93 * 0.009, rel=0.1)
    assert flat.mean() == pytest.approx(255.0 * (0.04 + 0.93 * 0.5), abs=0.5)


# 9 and the picture itself


def test_a_finer_render_averages_to_the_coarse_one():
    facts, u = subject(0)
    facts = facts | {"pacemaker": jnp.int32(0), "support_lines": jnp.int32(0)}
    fine = jax.jit(lambda facts, u: phantom.render(facts, u, 4 * SIZE))(facts, u)
    pooled = fine.reshape(SIZE, 4, SIZE, 4).mean((1, 3))
    distance = jnp.abs(pooled - render(facts, u))
    assert distance.mean() < 0.01
    assert distance.max() < 0.15


def test_displays_stay_in_range_and_devices_only_add():
    facts, u = subject(5)
    bare = render(facts | {"pacemaker": jnp.int32(0), "support_lines": jnp.int32(0)}, u)
    full = render(facts | {"pacemaker": jnp.int32(1), "support_lines": jnp.int32(1)}, u)
    assert bare.min() >= 0.0
    assert full.max() <= 1.0
    assert (full - bare).min() > -1e-6
    assert (full - bare).max() > 0.05


def test_the_ratio_in_closed_form_is_that_of_the_drawn_heart():
    x, y = (1.2 * axis for axis in shapes.grid(256))

    @jax.jit
    def both(index):
        facts, u = subject(index)
        g = geometry.geometry(facts, u)
        heart = (anatomy._heart(x, y, anatomy._diaphragm(x, g), g) < 0) & (y > -0.15)  # below the great vessels
        cage = shapes.superellipse(jnp.abs(x), y, *g.lung, -geometry.LUNG_TILT, geometry.LUNG_POWER) < 0
        span = lambda shape: jnp.where(shape, x, -9).max() - jnp.where(shape, x, 9).min()
        return span(heart) / span(cage), phantom.cardiothoracic_ratio(facts, u)

    for index in range(20):
        drawn, closed = both(index)
        assert float(drawn) == pytest.approx(float(closed), abs=0.015)


def test_cardiomegaly_and_ap_views_enlarge_the_heart():
    ratio = jax.jit(phantom.cardiothoracic_ratio)
    for index in range(20):
        facts, u = subject(index)
        of = lambda card, view, facts=facts, u=u: ratio(
            facts | {"cardiomegaly": jnp.int32(card), "view": jnp.int32(view)}, u
        )
        assert of(0, 0) < of(0, 1) < of(1, 1)
        assert of(0, 0) < 0.53
        assert of(1, 0) > 0.52


# words


def test_wrong_requests_are_refused_with_the_remedy():
    for do, mode, words in (
        ({"weight": 1}, "graph", "weight.*sex, age"),
        ({"sex": 0.5}, "graph", "sex to 0.5; give 0 or 1"),
        ({"age": 17}, "graph", "17; give between 18 and 90"),
        ({"age": float("nan")}, "graph", "nan"),
        ({"group": 3}, "graph", "0 to 2"),
        ({}, "causal", "'causal'; use one of graph, surgical"),
    ):
        with pytest.raises(ValueError, match=words):
            phantom.check_intervention(do, mode)
    with pytest.raises(ValueError, match="'weak'; use one of default, strong, none, reversed"):
        phantom.Equations.preset("weak")
    for indices, options, words in (
        ([], {}, "indices"),
        ([-1], {}, "indices must be .*got -1"),
        ([0], {"size": 8}, "size must be .*got 8"),
        ([0], {"batch": 0}, "batch must be at least 1, got 0"),
        ([0], {"seed": -1}, "seed must be .*got -1"),
        ([0, 1], {"do": {"sex": [1, 0, 1]}}, "one value or 2"),
    ):
        with pytest.raises(ValueError, match=words):
            phantom.generate(indices, **options)


def test_equations_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT.effusion = 0.0
