import os

import numpy as np
import pytest

from prism_jax.data import phantom
from prism_jax.data.phantom import measure
from prism_jax.metrics.classification import auroc

SIZE = 64


def chest(*, heart=0.4, can=0.0):
    """A drawing of uint8 [64, 64]: two lungs with straight borders, a heart in between, and a can on the left side."""
    axis = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x, y = np.meshgrid(axis, axis)
    image = np.full((SIZE, SIZE), 190.0)
    image[(np.abs(x) < 0.72) & (np.abs(x) > heart) & (np.abs(y) < 0.6)] = 80
    image[np.hypot(x - 0.55, y + 0.5) < 0.1] += can
    return image.astype(np.uint8)


def test_a_wider_heart_has_a_larger_ratio_and_a_brighter_can_scores_higher():
    ratios = measure.cardiothoracic_ratio(np.stack([chest(heart=h) for h in (0.3, 0.36, 0.42)]))
    assert np.all(np.diff(ratios) > 0.01)
    scores = measure.pacemaker_score(np.stack([chest(can=c) for c in (0, 30, 60)]))
    assert np.all(np.diff(scores) > 5)


def test_a_picture_without_lungs_has_no_ratio():
    assert np.isnan(measure.cardiothoracic_ratio(np.full((1, SIZE, SIZE), 200, np.uint8))).all()


def test_other_pictures_are_refused():
    with pytest.raises(ValueError, match="give square grey levels"):
        measure.pacemaker_score(np.zeros((1, 8, 9), np.uint8))
    with pytest.raises(ValueError, match="float32"):
        measure.cardiothoracic_ratio(np.zeros((1, 8, 8), np.float32))


@pytest.mark.skipif(os.environ.get("PRISM_SLOW") != "1", reason="renders 400 phantoms; PRISM_SLOW=1 runs it")
@pytest.mark.parametrize("size", [64, 128])
def test_measurements_agree_with_the_generator(size):
    # Not the subjects that the constants of the edges are from.
    drawn = phantom.generate(np.arange(200), size=size, equations=phantom.Equations.preset("balanced"))
    truth, measured = drawn.truth["cardiothoracic_ratio"], measure.cardiothoracic_ratio(drawn.images)
    assert np.corrcoef(truth, measured)[0, 1] > 0.88
    np.testing.assert_allclose(measured.mean(), truth.mean(), atol=0.012)
    assert auroc(measure.pacemaker_score(drawn.images), drawn.attributes["pacemaker"].astype(float)) > 0.99
