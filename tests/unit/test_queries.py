"""What a comparison queries of its rows: ways back, findings as classes of a graph, pictures of another size."""

import numpy as np

from prism_jax.data import transforms
from prism_jax.data.captions import phrases
from prism_jax.data.schema import Attributes
from prism_jax.evaluation.benchmark import queries
from prism_jax.evaluation.benchmark import scm as benchmark_scm
from prism_jax.evaluation.edits import EditSpec
from prism_jax.pixels import to_uint8
from prism_jax.scm import graphs

SIZE = 32


def test_the_way_back_says_what_was():
    known = Attributes(age=63.0, sex="M", view="AP", findings={"effusion": True, "support_lines": False})
    for edit in ("remove effusion", "add support lines, set sex woman", "set age 40, set view PA"):
        there = EditSpec(edit=edit)
        after = phrases.changed(known, there.values(known))
        back = queries.reverse(there, known)
        assert phrases.changed(after, back.values(after)) == known


def test_classes_that_are_findings_are_stated_and_read_again():
    graph = graphs.mimic_cxr()
    sick = Attributes(age=50.0, sex="F", race="WHITE", findings={"pleural effusion": True})
    healthy = benchmark_scm.restated(sick, graph, {"finding": 0})
    assert benchmark_scm.columns([sick, healthy], graph)["finding"].tolist() == [1, 0]
    assert benchmark_scm.columns([benchmark_scm.restated(healthy, graph, {"finding": 1})], graph)[
        "finding"
    ].tolist() == [1]


def test_a_picture_is_resized_once_and_one_of_the_right_size_stays_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    np.testing.assert_array_equal(queries.fitted(picture, 16), picture)
    larger = transforms.resize(picture.astype(np.float32) / np.float32(127.5) - 1, SIZE, SIZE)
    np.testing.assert_array_equal(queries.fitted(picture, SIZE), to_uint8(larger))
