"""The phantom as a data set: subjects that can be rendered again, in disjoint splits."""

import numpy as np
import pytest

from prism_jax.data import phantom, transforms
from prism_jax.data.captions.phrases import changed
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.loading import pipeline
from prism_jax.data.sources import phantom as sources_phantom
from prism_jax.data.sources.build import digest, read_build
from prism_jax.data.sources.phantom import PhantomConfig
from tests.build_dataset import build


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "phantom"
    made = build("phantom", None, out, size=64, seed=5, preset="strong", train=3, val=0, test=2)
    assert str(made) == f"{out}: train 3, test 2"
    return out


def test_a_stored_subject_can_be_rendered_again(built):
    name, config = read_build(built)
    assert (name, config.size, config.seed) == ("phantom", 64, 5)
    for split in ("train", "test"):
        stored = list(pipeline.open_split(built, split))
        again = phantom.generate(
            [example.subject for example in stored],
            seed=config.seed,
            size=config.size,
            equations=phantom.Equations.preset(config.preset),
        )
        for place, example in enumerate(stored):
            np.testing.assert_array_equal(transforms.decode(example.image), again.images[place])
            values = {key: column[place] for key, column in again.attributes.items()}
            assert example.attributes == sources_phantom.attributes_of(values)


def test_the_same_phantoms_have_the_same_digest_and_others_another(built, tmp_path):
    options = dict(size=64, preset="strong", train=3, val=0, test=2)
    for name, seed in (("same", 5), ("other", 6)):
        build("phantom", None, tmp_path / name, seed=seed, **options)
    assert digest(tmp_path / "same") == digest(built) != digest(tmp_path / "other")


def test_batches_carry_subjects_in_order_and_captions_that_state_every_finding(built):
    batch = next(pipeline.batches(pipeline.open_split(built, "test"), 2, size=64))
    assert batch["subject"].tolist() == sources_phantom.subjects("test", PhantomConfig(test=2)).tolist()
    assert all(caption.count(",") == 5 for caption in batch["caption"])


def test_splits_are_disjoint_and_keep_their_subjects_when_another_grows():
    small, large = PhantomConfig(train=5, val=5, test=5), PhantomConfig(train=5000, val=50, test=5)
    found = [set(sources_phantom.subjects(split, large)) for split in ("train", "val", "test")]
    assert len(set.union(*found)) == 5055
    np.testing.assert_array_equal(sources_phantom.subjects("test", small), sources_phantom.subjects("test", large))


def test_the_caption_reads_the_structural_variables():
    values = {
        "age": 80.2,
        "sex": 0,
        "view": 1,
        "cardiomegaly": 1,
        "effusion": 0,
        "pacemaker": 0,
        "support_lines": 1,
    }
    assert PLAIN.describe(sources_phantom.attributes_of(values)) == (
        "Chest X-ray of an 80-year-old woman, AP view, with cardiomegaly, no effusion, no pacemaker, support lines"
    )


def test_a_change_of_attributes_is_an_intervention_on_the_structural_model():
    change = {"age": 40.0, "sex": "F", "view": "AP", "pacemaker": False, "support_lines": True}
    do = sources_phantom.intervention(change)
    assert do == {"age": 40.0, "sex": 0, "view": 1, "pacemaker": 0, "support_lines": 1}
    known = sources_phantom.attributes_of({"cardiomegaly": 0, "effusion": 0} | do)
    assert changed(known, change) == known


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edema": True}, "cannot have edema True; it has age, sex, view, cardiomegaly"),
        ({"view": "lateral"}, "cannot have view 'lateral'"),
        ({"pacemaker": None}, "cannot have pacemaker None"),
        ({"age": 12.0}, "between 18 and 90"),
    ],
)
def test_a_change_that_the_phantom_does_not_know_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        sources_phantom.intervention(change)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"preset": "weird"}, "no phantom preset named 'weird'"),
        ({"train": -1}, "train must be between 0 and 10000000 subjects, got -1"),
        ({"train": 0, "val": 0, "test": 0}, "nothing to render"),
        ({"size": 7, "test": 1}, "size must be between 32 and 2048 pixels, got 7"),
    ],
)
def test_a_configuration_that_makes_no_sense_leaves_nothing(tmp_path, config, message):
    with pytest.raises(ValueError, match=message):
        build("phantom", None, tmp_path / "out", **config)
    assert not list(tmp_path.iterdir())
