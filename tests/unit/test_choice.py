"""The best candidate is chosen, and every refusal has its reasons."""

import numpy as np
import pytest

from prism_jax.metrics.choice import Choice, Thresholds, choose

NAN = float("nan")


def scores(direction, *, image=0.9, text=0.3, **others):
    """Scores of candidates that pass, apart from what is given."""
    full = {"image": image, "text": text, "direction": direction, **others}
    return {name: np.broadcast_to(np.asarray(value, float), len(direction)) for name, value in full.items()}


def test_the_highest_direction_is_chosen_wherever_it_stands():
    for direction, best in (([0.1, 0.3, 0.2], 1), ([0.3, 0.1, 0.2], 0), ([-0.4, -0.3, -0.2], 2)):
        assert choose(scores(direction)) == Choice(best=best, refusals=((), (), ()))


def test_a_higher_direction_that_fails_elsewhere_is_passed_over():
    choice = choose(scores([0.1, 0.9, 0.8, 0.2], image=[0.9, 0.59, 0.9, 0.9], text=[0.3, 0.3, 0.05, 0.3]))
    assert choice.best == 3
    assert choice.refusals == ((), ("image 0.59 < 0.6",), ("text 0.05 < 0.1",), ())


def test_where_nothing_passes_nothing_is_chosen_and_all_reasons_are_given():
    choice = choose(scores([-0.6, 0.5], image=[0.5, 0.5], text=[-0.02, 0.3], source_text=[0.0999, 0.2]))
    assert choice.best is None
    first = ("image 0.5 < 0.6", "source_text 0.0999 < 0.1", "text -0.02 < 0.1", "direction -0.6 < -0.5")
    assert choice.refusals == (first, ("image 0.5 < 0.6",))
    assert choose(scores([])) == Choice(best=None, refusals=())


def test_of_equal_directions_the_first_is_chosen():
    assert choose(scores([0.1, 0.4, 0.4])).best == 1


def test_a_score_equal_to_its_limit_passes():
    assert choose(scores([-0.5], image=0.6, text=0.1, source_text=0.1)) == Choice(best=0, refusals=((),))


@pytest.mark.parametrize("name", ["image", "source_text", "text", "direction"])
def test_nan_is_refused_with_its_name(name):
    limit = {"image": "0.6", "direction": "-0.5"}.get(name, "0.1")
    choice = choose(scores([0.1, 0.3]) | {name: np.array([0.7, NAN])})
    assert choice == Choice(best=0, refusals=((), (f"{name} is NaN, limit {limit}",)))


def test_thresholds_are_options():
    thresholds = Thresholds(image=0.95, text=0.0, direction=0.2)
    choice = choose(scores([0.1, 0.3], image=[0.96, 0.94], text=0.05), thresholds)
    assert choice == Choice(best=None, refusals=(("direction 0.1 < 0.2",), ("image 0.94 < 0.95",)))


def test_candidates_that_do_not_flip_the_classifier_are_refused():
    choice = choose(scores([0.1, 0.3, 0.2]), flips=np.array([True, False, True]))
    assert choice == Choice(best=2, refusals=((), ("classifier does not find the wanted label",), ()))
    assert choose(scores([0.1]), flips=[False]).best is None


def test_scores_that_do_not_fit_are_one_error():
    with pytest.raises(ValueError, match=r"missing \['text'\], unknown \['txt'\]; give \['image', 'source_text',"):
        choose({"image": [1.0], "txt": [1.0], "direction": [1.0]})
    with pytest.raises(ValueError, match=r"'image': \(3,\).*'direction': \(2,\)\}; give one number per candidate"):
        choose(scores([0.1, 0.2]) | {"image": np.ones(3)})
    with pytest.raises(ValueError, match=r"'flips': \(1,\)\}; give one number per candidate"):
        choose(scores([0.1, 0.2]), flips=np.array([True]))
    with pytest.raises(ValueError, match="flips are float64; give one bool per candidate"):
        choose(scores([0.1]), flips=np.array([0.7]))
