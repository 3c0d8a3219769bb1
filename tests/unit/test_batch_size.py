"""The batch that is chosen fits the memory, and twice as many images would not."""

import pytest

from prism_jax.evaluation.counterfactuals import batch_size


@pytest.mark.parametrize("fixed", [0, 100])
@pytest.mark.parametrize("memory", [170, 1000, 4321, 10**9])
def test_the_largest_power_of_two_that_fits(fixed, memory):
    needed = lambda n: fixed + 17 * n
    n = batch_size.fitting(needed, memory)
    limit = batch_size.USABLE * memory
    assert needed(n) <= limit
    assert n == batch_size.LARGEST or needed(2 * n) > limit


def test_a_guess_that_proves_too_large_is_halved():
    asked = []
    needed = lambda n: asked.append(n) or (100 * n if n < 16 else 10_000)
    assert batch_size.fitting(needed, 5000) == 8
    assert asked == [1, 2, 32, 16, 8]


def test_no_more_than_there_are():
    assert batch_size.fitting(lambda n: n, 2**30, largest=12) == 8
    assert batch_size.fitting({1: 1}.__getitem__, 2**30, largest=1) == 1  # of two it need not know


def test_an_image_too_large_for_the_device_is_refused():
    with pytest.raises(ValueError, match="one image needs 2 GiB, the device has 1; use bfloat16"):
        batch_size.fitting(lambda n: n * 2**31, 2**30)
