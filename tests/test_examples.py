"""Examples of a built data set for training: their captions are those asked for, and none is too long."""

import csv

import numpy as np
import pytest
from PIL import Image

from prism_jax.data import templates
from prism_jax.data.build import build
from prism_jax.data.templates import PLAIN, PRISM, CaptionConfig
from train import examples
from train.examples import Data

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


def test_captions_are_plain_unless_others_are_asked_for(folder):
    assert examples.load(data(folder), factor=FACTOR).captions[0] == (
        "Chest X-ray of a 40-year-old woman, PA view, with edema, mass"
    )
    asked = examples.load(data(folder, templates=(PRISM,)), factor=FACTOR)
    assert set(asked.captions) == {"Chest X-ray showing Edema, Mass"}


def test_captions_are_cut_to_what_the_tokenizer_takes(folder):
    cut = examples.load(data(folder), factor=FACTOR, tokenize=words)
    assert cut.captions[0] == "Chest X-ray of a 40-year-old woman, PA view"


@pytest.mark.parametrize("captions", [{}, {"templates": (PLAIN, PRISM)}, {"reports": 1.0}])
def test_a_stream_has_the_captions_of_the_loaded_examples(folder, captions):
    chosen, seen = data(folder, **captions), {}

    def tokenize(texts: list[str]) -> np.ndarray:
        return np.array([[len(text)] for text in texts])

    stream = examples.Stream(chosen, tokenize, batch_size=4, seed=0, factor=FACTOR)
    for _ in range(3):
        batch = next(stream)
        seen |= dict(zip(batch["id"].tolist(), batch["tokens"][:, 0].tolist(), strict=True))
    loaded = examples.load(chosen, factor=FACTOR, tokenize=tokenize)
    assert seen == {number: len(text) for number, text in zip(loaded.ids.tolist(), loaded.captions, strict=True)}


def test_another_turn_draws_other_captions(folder):
    chosen = data(folder, templates=templates.PARAPHRASES)
    draw = examples._caption(chosen, None)
    source = examples.pipeline.open_split(folder, "train")
    turns = [[draw(source[i], turn) for i in range(len(source))] for turn in (0, 1)]
    assert turns[0] == examples.load(chosen, factor=FACTOR).captions
    assert turns[0] != turns[1]
