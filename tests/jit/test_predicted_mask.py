"""Masks that a model predicts lie where its two prompts query for different pictures."""

import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import StableDiffusion, editing, rng
from prism_jax.data import phantom
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.schema import Attributes
from prism_jax.data.sources.phantom import FIRST_SUBJECT, attributes_of
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.editing import MaskPrediction, predicted_mask
from prism_jax.evaluation.benchmark import editors
from prism_jax.evaluation.benchmark.methods import Editor, Strength
from prism_jax.evaluation.benchmark.queries import null, queries_of
from prism_jax.evaluation.counterfactuals.run import Inversion
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.subjects import Subject
from prism_jax.pixels import to_uint8

SIDE = 8
HIGH = MaskPrediction(threshold=0.9)  # untrained networks differ everywhere
IDS = np.array([5, 9], np.uint32)
REGION = np.zeros((SIDE, SIDE), bool)
REGION[2:5, 1:3] = True


def toy(latents, t, context):
    """A linear estimate of the noise that the prompt `context [n, 1, 1]` moves in the region alone."""
    return 0.3 * latents + context[:, :, :, None] * jnp.asarray(REGION, jnp.float32)[None, :, :, None]


def test_the_mask_is_the_region_in_which_the_estimates_differ():
    contexts = jnp.array([[0.0, 0.0], [0.1, -7.0]]).reshape(2, 2, 1, 1)  # how far the prompts of two images move it
    latents = jnp.asarray(np.random.default_rng(0).normal(size=(2, SIDE, SIDE, 4)), jnp.float32)
    keys = rng.per_example(rng.key(0), IDS)
    schedule = NoiseSchedule.create(ScheduleConfig())
    found = predicted_mask.differences(toy, schedule, latents, contexts, keys, jnp.int32(500), noises=2)
    np.testing.assert_allclose(found, np.abs([[[0.1]], [[7.0]]]) * REGION[None], atol=1e-5)
    for quantile in (0.5, 0.95, 1.0):  # of the first, 0, no share is the threshold
        mask = predicted_mask.above(found, threshold=0.5, quantile=quantile)
        np.testing.assert_array_equal(mask, [REGION, REGION])


def test_equal_prompts_have_an_empty_mask_even_where_rows_of_a_batch_are_rounded_apart():
    rounded = lambda latents, t, context: latents + 1e-6 * jnp.arange(len(latents)).reshape(-1, 1, 1, 1)
    given = (NoiseSchedule.create(ScheduleConfig()), jnp.ones((1, SIDE, SIDE, 4)))
    options = (rng.per_example(rng.key(0), IDS[:1]), jnp.int32(500), 0.5, 0.95)
    of = lambda edited: predicted_mask._predict_mask.__wrapped__(
        rounded, *given, jnp.array([0.0, edited]).reshape(2, 1, 1, 1), *options, noises=1
    )
    assert not of(0.0).any()
    assert of(1.0).all()


def test_extreme_differences_are_cut_to_the_quantile():
    found = np.full((1, SIDE, SIDE), 0.1, np.float32)
    found[0, REGION] = 1.0
    found[0, 0, 0] = 100.0
    without, cut = (np.asarray(predicted_mask.above(found, threshold=0.5, quantile=q)[0]) for q in (1.0, 0.95))
    assert without.sum() == 1
    expected = REGION.copy()
    expected[0, 0] = True
    np.testing.assert_array_equal(cut, expected)


@pytest.fixture(scope="module")
def given(tiny_sd):
    """Latents of two images, their prompts, and edited ones of which the second changes nothing."""
    latents = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4, 4, 4)), jnp.float32)
    return latents, ["man", "woman with lines"], ["man with pacemaker", "woman with lines"]


@pytest.fixture(scope="module")
def mask(tiny_sd, given):
    return editing.predict_mask(tiny_sd, *given, IDS, config=HIGH)


def test_equal_prompts_have_an_empty_mask_and_others_one_in_whole_latents(tiny_sd, given, mask):
    factor = tiny_sd.vae.config.factor
    assert mask.dtype == bool
    assert mask.shape == (2, 4 * factor, 4 * factor)
    assert not mask[1].any()
    tiles = mask[0].reshape(4, factor, 4, factor)
    assert 0 < tiles.any((1, 3)).sum() < 16
    np.testing.assert_array_equal(tiles.any((1, 3)), tiles.all((1, 3)))


def test_a_mask_does_not_depend_on_the_batch_and_new_values_do_not_retrace(tiny_sd, given, mask):
    traced = predicted_mask._predict_mask._cache_size()
    turned = [given[0][::-1], *(prompts[::-1] for prompts in given[1:]), IDS[::-1]]
    np.testing.assert_array_equal(editing.predict_mask(tiny_sd, *turned, config=HIGH), mask[::-1])
    wide = MaskPrediction(threshold=0.0, strength=0.3, quantile=0.8, seed=1)
    assert editing.predict_mask(tiny_sd, *given, IDS, config=wide).sum((1, 2)).tolist() == [mask[0].size, 0]
    assert predicted_mask._predict_mask._cache_size() == traced


@pytest.fixture(scope="module")
def query():
    findings = dict.fromkeys(("cardiomegaly", "pacemaker", "support_lines"), False) | {"effusion": True}
    known = Attributes(age=40.0, sex="M", view="AP", findings=findings)
    subject = Subject(index=3, id="3", patient="3", number=-1, attributes=known, edits=(0,))
    return queries_of([subject], (EditSpec(edit="remove effusion", blend=None),), lambda index, size: None)[0]


@pytest.fixture(scope="module")
def editor(tiny_sd):
    how = Inversion(method="edit_friendly", steps=2, guidance=2.0)
    return editors.TextEditor(
        sd=tiny_sd, method=Editor(name="x", inversion=how, strength=Strength(), mask="predicted"), masks={}
    )


def test_an_editors_masks_are_those_of_its_captions(tiny_sd, editor, query, given):
    queries = [query, null(query)]
    prompts = [query.subject.prompt] * 2
    edits = editor.with_predicted_masks(given[0], prompts, queries, [editor.edit(each) for each in queries])
    expected = editing.predict_mask(
        tiny_sd, given[0], prompts, [PLAIN.describe(each.target) for each in queries], np.full(2, 3, np.uint32)
    )
    np.testing.assert_array_equal([each.mask for each in edits], expected)
    assert [each.mask.any() for each in edits] == [True, False]


@pytest.mark.nightly
def test_a_placebo_keeps_its_picture_within_a_predicted_mask(tiny_sd, editor, query):
    picture = np.random.default_rng(2).integers(0, 256, (tiny_sd.size, tiny_sd.size), np.uint8)
    edited, kept = editor.generate(np.stack([picture, picture]), [query, null(query)])
    colour = jnp.broadcast_to(jnp.asarray(picture, jnp.float32)[None, :, :, None] / 127.5 - 1, (1, *picture.shape, 3))
    again = to_uint8(np.asarray(tiny_sd.decode(tiny_sd.encode_image(colour))).mean(-1))
    np.testing.assert_array_equal(kept, again[0])
    assert (edited != kept).any()


@pytest.mark.parametrize(
    "options", [dict(strength=0.0), dict(noises=0), dict(threshold=1.0), dict(quantile=0.0), dict(quantile=1.5)]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="mask prediction with strength"):
        MaskPrediction(**options)


def test_lists_that_do_not_match_are_refused(tiny_sd, given):
    with pytest.raises(ValueError, match=r"\(2, 2, 1, 2\) latents, prompts, edited prompts and ids"):
        editing.predict_mask(tiny_sd, *given[:2], given[2][:1], IDS)


@pytest.mark.nightly
@pytest.mark.parametrize("edit", ["remove pacemaker", "add pacemaker"])
def test_the_shipped_model_finds_the_pacemaker(edit):
    sd = StableDiffusion.from_pretrained("prism_jax/pretrained/phantom")
    spec, equations = EditSpec(edit=edit), phantom.Equations.preset("balanced")
    numbers = FIRST_SUBJECT["val"] + np.arange(40)
    drawn = phantom.generate(numbers, size=sd.size, equations=equations)
    shown = [attributes_of({name: column[i] for name, column in drawn.attributes.items()}) for i in range(40)]
    at = [i for i in range(40) if spec.applies(shown[i])][:4]
    pictures = jnp.repeat(jnp.asarray(drawn.images[at], jnp.float32)[..., None] / 127.5 - 1, 3, axis=-1)
    prompts = [PLAIN.describe(shown[i]) for i in at]
    wanted = [spec.prompt(shown[i]) for i in at]
    mask = editing.predict_mask(sd, sd.encode_image(pictures), prompts, wanted, numbers[at].astype(np.uint32))
    do = {"pacemaker": float(edit.startswith("add"))}
    true = phantom.change_mask(numbers[at], do, size=sd.size, equations=equations)
    side = mask.shape[1] // sd.vae.config.factor
    in_latents = lambda m: m.reshape(-1, side, mask.shape[1] // side, side, mask.shape[1] // side).any((2, 4))
    found, sought = in_latents(mask), in_latents(true)
    overlap = lambda a, b: ((a & b).sum((1, 2)) / (a | b).sum((1, 2))).mean()
    moved = np.roll(found, side // 2, axis=2)  # as large and of the same shape, elsewhere
    assert overlap(found, sought) > 0.4
    assert overlap(moved, sought) < 0.1
