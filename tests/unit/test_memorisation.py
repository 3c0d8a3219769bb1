import numpy as np

from prism_jax.metrics.distribution import FeatureSet
from prism_jax.metrics.memorisation import Memorisation
from prism_jax.stats.intervals import BootstrapConfig

QUICK = BootstrapConfig(resamples=100)
RNG = np.random.default_rng(0)


def made(features, name):
    return FeatureSet.of(features, patients=[f"{name}{i}" for i in range(len(features))])


TRAINING = made(RNG.normal(size=(200, 8)), "t")
HELD_OUT = made(RNG.normal(size=(100, 8)), "h")


def test_new_images_are_as_far_from_the_training_set_as_held_out_ones():
    fresh = made(RNG.normal(size=(100, 8)), "g")
    found = Memorisation.of(generated=fresh, held_out=HELD_OUT, training=TRAINING).compute(config=QUICK)
    assert found["nearer"].low < 0.5 < found["nearer"].high
    assert found["suspects"].value < 0.06
    assert found["nearer"].count == 100


def test_copies_are_found_first_with_what_they_copy():
    fresh = RNG.normal(size=(50, 8))
    fresh[7] = TRAINING.features[31] + 0.01
    checked = Memorisation.of(generated=made(fresh, "g"), held_out=HELD_OUT, training=TRAINING)
    assert np.argmin(checked.distance) == 7
    assert checked.neighbour[7] == 31
    assert checked.ratio[7] < 0.1 < checked.ratio[8]
    copies = Memorisation.of(
        generated=made(TRAINING.features[:60] + 0.01, "g"), held_out=HELD_OUT, training=TRAINING
    ).compute(config=QUICK)
    assert copies["suspects"].value == copies["nearer"].value == 1.0


def test_the_image_that_a_counterfactual_was_made_from_is_not_its_copy():
    near = FeatureSet.of(TRAINING.features[:60] + 0.01, patients=TRAINING.patients[:60])
    found = Memorisation.of(generated=near, held_out=HELD_OUT, training=TRAINING)
    assert not np.any(found.neighbour == np.arange(60))
    assert found.compute(config=QUICK)["nearer"].value < 0.7


def test_nothing_is_said_where_there_is_nothing_to_compare():
    alone = FeatureSet.of(np.zeros((2, 8)), patients=["t", "t"])
    found = Memorisation.of(generated=alone, held_out=HELD_OUT, training=alone).compute(config=QUICK)
    assert found["suspects"].count == 0
    assert np.isnan(found["nearer"].value)
