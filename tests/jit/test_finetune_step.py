"""The training step's own parts: weights of timesteps and examples, parts of a batch, draws that belong to examples."""

import jax.numpy as jnp
import numpy as np
import pytest

from prism_jax import rng
from prism_jax.diffusion import schedule as schedules
from prism_jax.diffusion.losses import min_snr_weights
from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.training import examples
from prism_jax.training.finetune import encode as finetune_encode
from prism_jax.training.finetune import step as finetune_step
from prism_jax.training.finetune.step import DenoisingObjective

B, SHAPE = 6, (2, 3, 4)


def batch(**more):
    draw = np.random.default_rng(0)
    return {
        "latents": draw.normal(size=(B, *SHAPE)).astype(np.float16),
        "tokens": np.zeros((B, 7), np.int32),
        "id": np.arange(B, dtype=np.uint32),
        "weight": np.ones(B, np.float32),
    } | more


def losses(objective=DenoisingObjective(), prediction="epsilon", predict=lambda noisy, t, context: 0 * noisy, **more):  # noqa: B008
    frozen = {
        "schedule": NoiseSchedule.create(ScheduleConfig(prediction_type=prediction)),
        "no_caption": jnp.ones(7, jnp.int32),
    }
    given = batch(**more)
    keys = lambda name: rng.per_example(rng.stream(rng.key(0), name), given["id"])
    networks = {"unet": predict, "text_encoder": lambda ids: ids}
    return finetune_step.example_losses(networks, frozen, given, keys, objective)


@pytest.mark.parametrize(("prediction", "unit"), [("epsilon", 0.0), ("v_prediction", 1.0)])
def test_min_snr_weighs_clean_latents_alike_up_to_its_bound(prediction, unit):
    schedule = NoiseSchedule.create(ScheduleConfig(prediction_type=prediction))
    t = jnp.arange(1000)
    ratio = schedules.snr(schedule, t)
    weights = min_snr_weights(schedule, t, 5.0)
    np.testing.assert_allclose(weights * (ratio + unit), np.minimum(ratio, 5.0), rtol=1e-6)
    plain, at = losses(prediction=prediction)
    weighed, _ = losses(DenoisingObjective(min_snr=5.0), prediction)
    np.testing.assert_allclose(weighed, plain * min_snr_weights(schedule, at, 5.0), rtol=1e-6)


def test_a_noise_offset_is_the_same_all_over_a_channel():
    seen = []
    record = lambda noisy, t, context: seen.append(noisy) or 0 * noisy
    losses(predict=record)
    losses(DenoisingObjective(noise_offset=0.5), predict=record)
    offset = seen[1] - seen[0]
    np.testing.assert_allclose(offset, jnp.broadcast_to(offset[:, :1, :1], offset.shape), atol=1e-6)
    assert float(jnp.std(offset[:, 0, 0])) > 0


def test_an_example_draws_the_same_wherever_it_stands_in_a_batch():
    order = np.array([3, 1, 5, 0, 2, 4])
    first = losses()[0]
    moved = losses(latents=batch()["latents"][order], id=batch()["id"][order])[0]
    np.testing.assert_array_equal(moved, first[order])


def test_a_posterior_without_spread_is_its_mean():
    narrow = np.full((B, *SHAPE), -40, np.float16)
    np.testing.assert_allclose(losses(logvar=narrow)[0], losses()[0], rtol=1e-6)


@pytest.mark.parametrize("parts", [1, 2])
def test_mirrored_images_are_encoded_as_such_and_parts_as_a_whole(tiny_sd, parts):
    images = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 1)).astype(np.float32)
    given = lambda images: {"image": images, "id": np.arange(4, dtype=np.uint32)}
    encode = lambda images, **options: finetune_encode.encode(
        {"vae": tiny_sd.vae}, given(images), rng.key(0), 0, objective=DenoisingObjective(**options), parts=parts
    )["latents"]
    np.testing.assert_array_equal(encode(images, flip=1.0), encode(images[:, :, ::-1]))
    expected = tiny_sd.encode_image(np.repeat(images, 3, axis=-1))
    np.testing.assert_allclose(encode(images), expected, atol=2e-3)  # float16


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_parts_of_a_batch_add_up_to_it(parts):
    x = jnp.arange(12.0)
    total = finetune_step.accumulate_gradients(
        lambda part: {"sum": part["x"].sum(), "squares": (part["x"] ** 2).sum()}, {"x": x}, parts
    )
    assert {name: float(value) for name, value in total.items()} == {"sum": 66, "squares": 506}


def test_losses_by_noise_level_are_means_over_all_examples():
    schedule = NoiseSchedule.create(ScheduleConfig())
    values, t = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([0, 249, 250, 999])
    found = finetune_step.losses_by_timestep(values, jnp.ones(4), t, schedule)
    assert {name: (float(m.total), float(m.count)) for name, m in found.items()} == {
        "loss_t0_249": (3, 2),
        "loss_t250_499": (3, 1),
        "loss_t500_749": (0, 0),
        "loss_t750_999": (4, 1),
    }


def test_balanced_examples_weigh_the_same_by_state_and_one_on_average():
    findings = [{"pleural_effusion": True}] * 2 + [{"pleural_effusion": False}] * 6 + [{}] * 4
    weigh = examples.weights("Pleural effusion", findings)
    weights = np.array([weigh(found) for found in findings])
    np.testing.assert_allclose([weights[:2].sum(), weights[2:8].sum(), weights[8:].sum()], 4)
    assert weights.mean() == pytest.approx(1)
    assert examples.weights(None, ())({}) == 1
    with pytest.raises(ValueError, match="no example has 'fracture'"):
        examples.weights("fracture", findings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (dict(caption_dropout=1.5), "caption_dropout must be between 0 and 1, got 1.5"),
        (dict(flip=-0.1), "flip must be between 0 and 1, got -0.1"),
        (dict(min_snr=0.0), "min_snr must be above 0"),
    ],
)
def test_objectives_that_cannot_be_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        DenoisingObjective(**options)
