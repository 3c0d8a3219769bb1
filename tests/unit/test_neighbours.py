import numpy as np
import pytest
from scipy.spatial.distance import cdist

from prism_jax.metrics import neighbours
from prism_jax.metrics.neighbours import distance_blocks, nearest, radii


@pytest.fixture
def sets(monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 7)  # several blocks, the last not full
    rng = np.random.default_rng(0)
    return 100 + rng.normal(size=(20, 5)), 100 + rng.normal(size=(12, 5))


def test_distances_are_scipys(sets):
    found = np.concatenate([block for _, block in distance_blocks(*sets)])
    np.testing.assert_allclose(found, cdist(*sets), atol=1e-7)


def test_neighbours_are_those_of_the_whole_matrix(sets):
    distance, index = nearest(*sets, count=3)
    np.testing.assert_array_equal(index, np.argsort(cdist(*sets), axis=1)[:, :3])
    np.testing.assert_allclose(distance, np.sort(cdist(*sets), axis=1)[:, :3], atol=1e-7)
    np.testing.assert_allclose(radii(sets[0], k=2), np.sort(cdist(sets[0], sets[0]), axis=1)[:, 2], atol=1e-7)


def test_neighbours_agree_with_scikit_learn(sets):
    library = pytest.importorskip("sklearn.neighbors")
    distance, index = library.NearestNeighbors(n_neighbors=4).fit(sets[1]).kneighbors(sets[0])
    np.testing.assert_array_equal(nearest(*sets, count=4)[1], index)
    np.testing.assert_allclose(nearest(*sets, count=4)[0], distance, atol=1e-7)


def test_images_of_the_same_patient_are_no_neighbours(sets):
    own = np.arange(20) % 12
    _, index = nearest(*sets, query_patients=own, reference_patients=np.arange(12))
    assert not np.any(index[:, 0] == own)
    lonely, _ = nearest(sets[0][:1], sets[1][:1], query_patients=np.array(["p"]), reference_patients=np.array(["p"]))
    assert np.isinf(lonely[0, 0])


def test_what_cannot_be_found_is_refused(sets):
    with pytest.raises(ValueError, match="13 neighbours of 12 rows"):
        nearest(*sets, count=13)
    with pytest.raises(ValueError, match="20 rows have no 20-th neighbour"):
        radii(sets[0], k=20)
    with pytest.raises(ValueError, match="of one d"):
        nearest(sets[0], sets[1][:, :3])
    with pytest.raises(ValueError, match="one side only"):
        nearest(*sets, query_patients=np.arange(20))
