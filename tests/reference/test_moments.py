"""Frechet distance of the reference implementation."""

import numpy as np
import pytest

from prism_jax.metrics.moments import Moments, frechet
from tests.reference.conftest import load_trace


@pytest.mark.parametrize("pair", ["fid_a", "fid_b"])
def test_the_distance_agrees_with_the_reference(pair):
    trace = load_trace("15_metrics")
    real, generated = (
        Moments.of(trace.arrays[f"{pair}_features{i}"], range(len(trace.arrays[f"{pair}_features{i}"]))) for i in (1, 2)
    )
    found = frechet(real, generated)
    # Of set b there are fewer vectors than dimensions, where the reference's own two ways differ by 5e-9.
    np.testing.assert_allclose(found.value, trace.meta[pair]["fid"], rtol=1e-8)
    assert found.low < found.value < found.high
    assert found.count == trace.meta[pair]["n2"]
