"""Near duplicates: an image is detected at another size, compression or contrast, another patient's is not."""

import io

import numpy as np
import pytest
from PIL import Image

from prism_jax.data_report import duplicates
from tests.unit.test_burned_in_text import chest


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Twelve drawings, uint8 [12, 128, 128]."""
    return np.stack([chest(seed, 128) for seed in range(12)])


def recompressed(pixels: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=40)
    return np.asarray(Image.open(buffer))


CHANGES = {
    "the same": lambda pixels: pixels,
    "compressed": recompressed,
    "smaller": lambda pixels: np.asarray(Image.fromarray(pixels).resize((90, 90))),
    "darker": lambda pixels: (255 * (pixels / 255) ** 1.4).astype(np.uint8),
    "of more contrast": lambda pixels: np.clip((pixels - 128.0) * 1.3 + 128, 0, 255).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_image_is_detected(pictures, change):
    for pixels in pictures:
        before, after = duplicates.fingerprint(pixels), duplicates.fingerprint(CHANGES[change](pixels))
        assert duplicates.similarity(before, after) >= 0.95


def test_other_subjects_are_less_alike(pictures):
    prints = np.stack([duplicates.fingerprint(pixels) for pixels in pictures])
    alike = duplicates.similarity(prints[:, None], prints[None])[np.triu_indices(12, 1)]
    assert alike.max() < 0.95


def test_bits_estimate_the_correlation_of_the_normalised_images():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 64, 64))
    for share in (0.3, 0.6, 0.9):
        mixed = share * noise[0] + np.sqrt(1 - share**2) * noise[1]
        pictures = [np.clip(128 + 30 * one, 0, 255).astype(np.uint8) for one in (noise[0], mixed)]
        one, other = map(duplicates.fingerprint, pictures)
        assert duplicates.similarity(one, other) == pytest.approx(share, abs=0.1)


def codes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, (count, duplicates.WORDS), dtype=np.uint64)


def test_exactly_the_planted_pairs_are_detected_whatever_the_blocks(monkeypatch):
    prints = codes(3000)
    flips = np.random.default_rng(1).random((3, duplicates.WORDS * 64)) < 0.06
    planted = [(5, 2999), (64, 65), (100, 1700)]
    for (first, second), flip in zip(planted, flips, strict=True):
        prints[second] = prints[first] ^ np.packbits(flip).view(np.uint64)
    found = list(duplicates.near(prints, 0.95))
    assert [pair[:2] for pair in found] == planted
    assert all(pair[2] == pytest.approx(np.cos(np.pi * 0.06), abs=0.02) for pair in found)
    monkeypatch.setattr(duplicates, "BLOCK", (7, 50))
    assert list(duplicates.near(prints, 0.95, threads=3)) == found


def test_the_search_equals_the_comparison_of_all_pairs():
    few = codes(40)
    prints = few[np.random.default_rng(2).integers(40, size=300)]  # many are equal
    prints[::3, 0] ^= np.uint64(0b1011)
    found = {pair[:2] for pair in duplicates.near(prints, 0.9)}
    first, second = np.triu_indices(300, 1)
    near = duplicates.similarity(prints[first], prints[second]) >= 0.9
    assert found == set(zip(first[near].tolist(), second[near].tolist(), strict=True))
    assert len(found) > 500


def test_progress_counts_every_image_and_a_search_can_be_left_early(capsys):
    assert not list(duplicates.near(codes(1000), 0.95))
    assert "1000/1000" in capsys.readouterr().err
    same = np.repeat(codes(1), 5000, axis=0)  # 12 million pairs
    assert next(duplicates.near(same, 0.95)) == (0, 1, 1.0)


@pytest.mark.parametrize("at_least", [0.0, -1.0, 1.5])
def test_a_similarity_that_makes_no_sense_is_refused(at_least):
    with pytest.raises(ValueError, match="similarity must be above 0 and at most 1"):
        next(duplicates.near(codes(2), at_least))
