"""Near-duplicate search among hundreds of thousands of images.

Chest X-rays all look alike: the usual 64-bit difference hash takes images of different patients for copies. Here an
image is shrunk, its local brightness and contrast are normalised, and the signs of fixed random projections are kept
(Charikar 2002): the fraction of bits in which two fingerprints differ is the angle between the normalised images, so
their correlation follows from the bits. It is nearly 1 for the same image at another size, compression, brightness or
contrast; a crop, a rotation or a wide border lowers it, and a mirrored copy counts as another image.
"""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import fft, ndimage
from tqdm import tqdm

from prism_jax.data import transforms

BITS = 2048
WORDS = BITS // 64
SIDE = 64  # pixels of the shrunken image
NORMALISATION = 3.0  # pixels of it: standard deviation of the Gaussian window
MIN_CONTRAST = 4.0  # grey levels of contrast below which there is only noise
STAGES = (1, 4, WORDS)  # words compared; clearly distant pairs are dropped early
BLOCK = (64, 4096)  # rows and columns compared at once: fits the cache of a core


def fingerprint(pixels: np.ndarray) -> np.ndarray:
    """Fingerprint uint64 [WORDS] of a grey image uint8 [h, w] of any size."""
    small = transforms.resize(pixels.astype(np.float32), SIDE, SIDE)
    small = small - ndimage.gaussian_filter(small, NORMALISATION)
    small = small / (np.sqrt(ndimage.gaussian_filter(small**2, NORMALISATION)) + MIN_CONTRAST)
    flips, kept = _projections()
    # A cosine transform after random changes of sign: as good as a thousand random directions, and much faster.
    projected = fft.dctn((small - small.mean()) * flips, norm="ortho").ravel()[kept]
    return np.packbits(projected > 0).view(np.uint64)


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlation of the normalised images, estimated from their fingerprints [..., WORDS] to about ±0.02."""
    return np.cos(np.pi * _distance(first, second) / BITS)


def near(fingerprints: np.ndarray, at_least: float, *, threads: int = 1) -> Iterator[tuple[int, int, float]]:
    """(First, second, similarity) of all pairs of `fingerprints` uint64 [n, WORDS] whose similarity is `at_least`.

    Ordered by the first place, then the second, which is the larger; the similarity is estimated from the bits. A pair
    is missed with a probability below 1/1,000. Progress is shown on stderr.
    """
    limits, heads = _limits(at_least), np.ascontiguousarray(fingerprints[:, 0])

    def block(top: int) -> np.ndarray:  # [2, pairs]
        lefts = range(top, len(heads), BLOCK[1])
        return np.concatenate([_close(heads, top, left, fingerprints, limits) for left in lefts], axis=1)

    bar = tqdm(total=len(heads), unit="image", desc="searching for near duplicates")
    with ThreadPoolExecutor(threads) as pool, bar:
        tops = range(0, len(heads), BLOCK[0])
        # A few at a time: a caller with enough pairs stops, and nothing more is compared.
        for few in (tops[at : at + 4 * threads] for at in range(0, len(tops), 4 * threads)):
            for first, second in pool.map(block, few):
                close = similarity(fingerprints[first], fingerprints[second])
                for place in np.lexsort((second, first)):
                    yield int(first[place]), int(second[place]), float(close[place])
            bar.update(min(len(few) * BLOCK[0], len(heads) - few[0]))


def _close(heads: np.ndarray, top: int, left: int, fingerprints: np.ndarray, limits: tuple[int, ...]) -> np.ndarray:
    """Places [2, pairs] of the close pairs of one block; `heads` are the first words of the fingerprints."""
    rows, others = heads[top : top + BLOCK[0]], heads[left : left + BLOCK[1]]
    first, second = np.nonzero(np.bitwise_count(rows[:, None] ^ others[None]) <= limits[0])
    first, second = first + top, second + left
    later = first < second
    first, second = first[later], second[later]
    for words, limit in zip(STAGES[1:], limits[1:], strict=True):
        close = _distance(fingerprints[first, :words], fingerprints[second, :words]) <= limit
        first, second = first[close], second[close]
    return np.stack([first, second])


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.bitwise_count(first ^ second).sum(axis=-1, dtype=np.int64)


def check(at_least: float) -> None:
    """A ValueError where `at_least` cannot be a similarity."""
    if not 0 < at_least <= 1:
        raise ValueError(f"similarity must be above 0 and at most 1 (0.95 finds copies, 0.8 crops too), got {at_least}")


def _limits(at_least: float) -> tuple[int, ...]:
    """Largest number of differing bits in the words of each stage: the expected number plus four standard
    deviations."""
    check(at_least)
    fraction = np.arccos(at_least) / np.pi
    limit = lambda bits: fraction * bits + 4 * np.sqrt(bits * fraction * (1 - fraction))
    return (*(int(limit(64 * words)) for words in STAGES[:-1]), int(fraction * BITS))


@functools.cache
def _projections() -> tuple[np.ndarray, np.ndarray]:
    """(signs [SIDE, SIDE], places [BITS] of coefficients): fixed, so that fingerprints of all runs can be compared."""
    draw = np.random.Generator(np.random.PCG64(0))
    return draw.choice(np.float32([-1, 1]), (SIDE, SIDE)), np.sort(draw.permutation(SIDE * SIDE)[:BITS])
