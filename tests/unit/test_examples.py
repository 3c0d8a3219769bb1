"""Examples of a built data set for training: their captions are those asked for, and none is too long."""

import csv
import dataclasses
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from prism_jax.data import transforms
from prism_jax.data.captions import templates
from prism_jax.data.captions.templates import PLAIN, PRISM, CaptionConfig
from prism_jax.data.loading.latent_cache import LatentCache, Settings, row_of
from prism_jax.data.schema import Attributes
from prism_jax.training import examples
from prism_jax.training.examples import Data, ExtraDataset
from tests.build_dataset import build

FACTOR = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built") / "set"
    with open(source / "metadata.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "patient", "sex", "age", "view", "findings", "note"))
        for i in range(12):
            Image.fromarray(np.full((16, 16), 9 * i, np.uint8)).save(source / f"{i}.png")
            writer.writerow((f"{i}.png", i, "F", 40 + i, "PA", "Edema;Mass", "Clear. As before."))
    build("folder", source, out, text_column="note", fractions=(1, 0, 0))
    return str(out)


def words(texts: list[str]) -> np.ndarray:
    """A tokenizer of words that takes nine of them."""
    if any(len(text.split()) > 9 for text in texts):
        raise ValueError("too long")
    return np.zeros((len(texts), 9), np.int32)


def data(folder: str, **captions) -> Data:
    return Data(folder=folder, size=16, captions=CaptionConfig(**captions))


def lengths(texts: list[str]) -> np.ndarray:
    """A tokenizer that gives different captions different ids."""
    return np.array([[len(text)] for text in texts], np.int32)


def texts(chosen: Data, tokenize=lengths, turn: int = 0) -> list[str]:
    caption, source = examples.captioner(chosen, tokenize), examples.open_split(chosen)
    return [caption(source[i], turn) for i in range(len(source))]


def test_images_in_memory_are_those_of_the_build_in_order(folder, monkeypatch):
    monkeypatch.setattr(examples, "READ_AT_ONCE", 5)  # the last batch is not full
    source, found = examples.open_split(data(folder)), examples.load(data(folder))
    assert sorted(found.images[:, 0, 0]) == [9 * i for i in range(12)]
    np.testing.assert_array_equal(found.images, [transforms.decode(example.image) for example in source])
    np.testing.assert_array_equal(found.ids, [example.id for example in source])
    assert found.attributes == tuple(example.attributes for example in source)
    assert list(found.patients) == [example.patient for example in source]


def test_captions_are_plain_unless_others_are_asked_for(folder):
    assert "Chest X-ray of a 40-year-old woman, PA view, with edema, mass" in texts(data(folder))
    assert set(texts(data(folder, templates=(PRISM,)))) == {"Chest X-ray showing Edema, Mass"}


def test_captions_are_cut_to_what_the_tokenizer_takes(folder):
    assert "Chest X-ray of a 40-year-old woman, PA view" in texts(data(folder), words)


def test_another_turn_draws_other_captions(folder):
    chosen = data(folder, templates=templates.PARAPHRASES)
    assert texts(chosen) == texts(chosen)
    assert texts(chosen) != texts(chosen, turn=1)


@pytest.mark.parametrize("captions", [{}, {"templates": (PLAIN, PRISM)}, {"report_fraction": 1.0}])
def test_encoded_images_come_with_the_captions_of_the_images_themselves(folder, captions, tmp_path):
    chosen = data(folder, **captions)
    source = examples.open_split(chosen)
    cache = LatentCache(folder=tmp_path, settings=settings(len(source)))
    cache.begin()
    rows = [row_of(e.id, e.attributes, e.text) for e in source]
    cache.write(0, [np.full((2, 2, 4), e.id, np.float16) for e in source], rows)
    assert cache.is_complete
    options = dict(batch_size=4, seed=3)
    images = examples.image_stream(chosen, lengths, factor=FACTOR, **options)
    latents = examples.latent_stream(chosen, cache.open(), lengths, **options)
    for _ in range(2 * len(source) // 4):  # two epochs, whose captions may differ
        image, latent = next(images), next(latents)
        for name in ("id", "tokens", "weight"):
            np.testing.assert_array_equal(image[name], latent[name])
        np.testing.assert_array_equal(latent["latents"][:, 0, 0, 0], image["id"])


def settings(count: int) -> Settings:
    return Settings(
        data="", split="train", count=count, size=16, fit="pad", crop=None, vae="", dtype="float32",
        has_variance=False, shape=(2, 2, 4),
    )  # fmt: skip


def test_two_data_sets_are_drawn_from_by_weight_and_a_finding_equally_often(folder, tmp_path):
    mixed = dataclasses.replace(data(folder), extra=(ExtraDataset(folder=folder, weight=3.0),))
    source = [example.id for example in examples.open_split(mixed)]
    stream = examples.image_stream(mixed, lengths, batch_size=4, seed=0, factor=FACTOR)
    counts = Counter(number for _ in range(len(source)) for number in next(stream)["id"].tolist())
    assert set(counts.values()) == {4}  # one from the first data set, three from the second
    with pytest.raises(ValueError, match="needs images that state the finding and images that state its absence"):
        examples.image_stream(
            dataclasses.replace(data(folder), balanced_sampling_on="edema"), lengths, batch_size=4, seed=0, factor=8
        )
    known = [Attributes(findings=found) for found in ({"Edema": True}, {"Edema": False}, {}, {"Edema": None})]
    np.testing.assert_array_equal(examples.finding_classes("edema", known), [1, 0, -1, -1])
