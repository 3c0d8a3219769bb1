import numpy as np
import pytest

from prism_jax.data import phantom
from prism_jax.data.phantom import measure
from prism_jax.data.phantom.geometry import HEART_TILT, LUNG_POWER, LUNG_TILT, ZOOM
from prism_jax.metrics.classification import auroc

SIZE = 128


def chest(*, growth=0.0, can=0.0):
    """A drawing of uint8 [128, 128] in three greys: the cage and the heart as ellipses, and a can; and its ratio."""
    axis = ((np.arange(SIZE) + 0.5) / SIZE * 2 - 1) / ZOOM
    x, y = np.meshgrid(axis, axis)

    def ellipse(cx, cy, rx, ry, tilt=0.0, power=2.0):
        dx, dy = x - cx, y - cy
        u, v = dx * np.cos(tilt) + dy * np.sin(tilt), dy * np.cos(tilt) - dx * np.sin(tilt)
        return np.abs(u / rx) ** power + np.abs(v / ry) ** power < 1

    cx, rx, ry = 0.12 + 0.45 * growth, 0.31 + growth, 0.21 + 0.45 * growth
    heart = ellipse(cx, 0.13, rx, ry, HEART_TILT) | ellipse(-0.075, 0.08, 0.18, 0.27)
    cage = ellipse(0.37, -0.02, 0.30, 0.76, -LUNG_TILT, LUNG_POWER)
    lungs = (cage | cage[:, ::-1]) & (np.abs(x) > 0.12) & (y < 0.35) & ~heart
    image = np.where(lungs, 80.0, 190.0)
    image[np.hypot(x - 0.5, y + 0.46) < 0.08] += can
    reach = cx + np.hypot(rx * np.cos(HEART_TILT), ry * np.sin(HEART_TILT))
    return image.astype(np.uint8), (reach + 0.075 + 0.18) / (2 * x[cage].max())


def test_the_ratio_is_that_of_the_ellipses_drawn():
    drawn = [chest(growth=growth) for growth in (0.0, 0.06, 0.12, 0.18)]
    measured = measure.cardiothoracic_ratio(np.stack([image for image, _ in drawn]))
    # Less what the soft edges of the phantom add, which these do not have.
    np.testing.assert_allclose(measured, [ratio - 0.04 for _, ratio in drawn], atol=0.012)


def test_a_brighter_can_scores_higher():
    scores = measure.pacemaker_score(np.stack([chest(can=can)[0] for can in (0, 30, 60)]))
    assert scores[0] < scores[1] < scores[2] - 5


def test_a_picture_without_lungs_has_no_ratio():
    assert np.isnan(measure.cardiothoracic_ratio(np.full((1, SIZE, SIZE), 200, np.uint8))).all()


def test_other_pictures_are_refused():
    with pytest.raises(ValueError, match="give square grey levels"):
        measure.pacemaker_score(np.zeros((1, 8, 9), np.uint8))
    with pytest.raises(ValueError, match="float32"):
        measure.cardiothoracic_ratio(np.zeros((1, 8, 8), np.float32))


@pytest.mark.nightly
@pytest.mark.parametrize("size", [64, 128])
def test_measurements_agree_with_the_generator(size):
    # Not the subjects that the constants of the edges are from.
    drawn = phantom.generate(np.arange(200), size=size, equations=phantom.Equations.preset("balanced"))
    truth, measured = drawn.truth["cardiothoracic_ratio"], measure.cardiothoracic_ratio(drawn.images)
    # Two standard errors of 200 subjects (0.03) below what was found; half of these have an effusion over the border.
    assert np.corrcoef(truth, measured)[0, 1] > {64: 0.85, 128: 0.88}[size]
    np.testing.assert_allclose(measured.mean(), truth.mean(), atol=0.012)
    assert auroc(measure.pacemaker_score(drawn.images), drawn.attributes["pacemaker"].astype(float)) > 0.99
