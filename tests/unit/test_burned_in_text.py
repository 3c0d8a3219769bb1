"""Burned-in text: letters at the border are detected, anatomy is not."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from prism_jax.data_report import burned_in_text


def chest(seed: int, size: int = 512) -> np.ndarray:
    """A drawing uint8 [size, size] that is bright in the middle, dark where lungs are, with ribs and soft detail."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    shift = rng.normal(0, 0.06, 8)
    body = 1 / (1 + np.exp(12 * (np.hypot(x / 0.85, y / 1.1) - 1)))
    lungs = sum(
        np.exp(-(((x - side * 0.4 - dx) / 0.25) ** 4) - ((y - dy) / 0.6) ** 4)
        for side, dx, dy in ((-1, *shift[:2]), (1, *shift[2:4]))
    )
    ribs = 0.06 * np.sin(22 * (y + shift[4]) + 6 * (x + shift[5]) ** 2) * body
    detail = ndimage.gaussian_filter(rng.normal(size=(size, size)), size / 40)
    picture = 20 + 150 * body * (1 - 0.6 * lungs + ribs) + 8 * detail / detail.std() + rng.normal(0, 2, (size, size))
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    """A chest without marks."""
    return chest(0)


def written(pixels: np.ndarray, text: str, place: tuple[int, int], size: int = 26, level: int = 255) -> np.ndarray:
    picture = Image.fromarray(pixels)
    ImageDraw.Draw(picture).text(place, text, fill=level, font=ImageFont.load_default(size))
    return np.asarray(picture)


def test_anatomy_alone_has_no_burned_in_text(plain):
    assert burned_in_text.detect(plain) == ()


@pytest.mark.parametrize("place", [(12, 12), (450, 12), (12, 470)])
def test_letters_at_the_border_are_located(plain, place):
    found = burned_in_text.detect(written(plain, "R", place))
    assert len(found) == 1
    (mark,) = found
    assert place[0] / 512 - 0.01 < mark.left < mark.right < (place[0] + 30) / 512
    assert place[1] / 512 - 0.01 < mark.top < mark.bottom < (place[1] + 40) / 512


def test_each_letter_is_a_mark_of_its_own(plain):
    assert len(burned_in_text.detect(written(plain, "AP 12", (20, 15)))) == 4


def test_text_in_the_middle_and_lines_are_not_detected(plain):
    assert not burned_in_text.detect(written(plain, "R", (250, 250)))
    line = plain.copy()
    line[20:24, 30:480] = 255
    assert not burned_in_text.detect(line)


def test_a_bright_spot_is_a_mark_only_where_its_edge_is_sharp(plain):
    spot = plain.copy()
    spot[20:34, 20:34] = 255
    assert len(burned_in_text.detect(spot)) == 1
    soft = ndimage.gaussian_filter(spot.astype(np.float32), 4).astype(np.uint8)
    assert soft[27, 27] > burned_in_text.MIN_BRIGHTNESS
    assert not burned_in_text.detect(soft)


def test_the_size_of_the_image_does_not_matter(plain):
    marked = written(plain, "L", (470, 20))
    large = np.asarray(Image.fromarray(marked).resize((1536, 1536), Image.Resampling.BICUBIC))
    (one,), (other,) = burned_in_text.detect(marked), burned_in_text.detect(large)
    assert other == pytest.approx(one, abs=0.01)


def test_opening_takes_away_what_is_thin():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (60, 47), dtype=np.uint8)
    expected = ndimage.grey_opening(picture, size=(burned_in_text.STROKE, burned_in_text.STROKE), mode="nearest")
    np.testing.assert_array_equal(burned_in_text._opened(picture), expected)


def test_an_outline_lies_around_the_mark_and_not_on_it(plain):
    marked = written(plain, "R", (12, 12))
    (mark,) = found = burned_in_text.detect(marked)
    outlined = burned_in_text.outlined(marked, found)
    changed = np.argwhere(outlined != marked)
    assert len(changed)
    inside = (changed[:, 0] >= mark.top * 512) & (changed[:, 0] < mark.bottom * 512)
    inside &= (changed[:, 1] >= mark.left * 512) & (changed[:, 1] < mark.right * 512)
    assert not inside.any()
    assert burned_in_text.outlined(marked, ()) is not marked
