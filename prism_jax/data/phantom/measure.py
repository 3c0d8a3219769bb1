"""What can be measured on the pictures of phantoms without a network: the heart's width, and the pacemaker.

The shapes are those that the generator draws (`geometry`, `devices`), found again by where the picture turns dark.
NumPy, on the host; grey levels uint8 [n, h, w].
"""

import functools

import numpy as np
from scipy import ndimage

from prism_jax.data.phantom.geometry import HEART_TILT, LUNG_POWER, LUNG_TILT, ZOOM

LUNG_BELOW = 138  # grey level between aerated lung and heart, wall or fluid
SMOOTHING = 0.012  # of the picture before it is cut, standard deviation as a share of its side
REACH = 0.85  # of the lungs from the midline, image coordinates: the air beside the body is farther out
THORAX_ROWS = (-0.45, 0.45)  # patient coordinates, y down
HEART_ROWS = (-0.15, 0.42)
PEDICLE = 0.20  # patient coordinates: nearer the midline the great vessels are the border, not the heart
OFF = 0.05  # a border farther than this from the heart's is another's
# What is drawn soft is cut a little off its edge, and parts of the heart are rounded into each other. These are the
# means of what is measured less the truth, on subjects 20000000 to 20000119 of the preset "balanced", 128 pixels.
VENTRICLE_EDGE, ATRIUM_EDGE, THORAX_EDGE = 0.008, 0.025, -0.006
THORAX_QUANTILE = 0.7  # of the rows' estimates: fluid and devices only ever take from the lung's width
GROWTHS = np.linspace(-0.08, 0.26, 35)  # of the heart's half width over the average, patient coordinates
DOMES = np.linspace(0.20, 0.52, 33)  # heights of the diaphragm
ATRIA = np.linspace(0.12, 0.26, 29)  # half widths of the right atrium
ATRIUM_AT = 0.075  # its centre, from the midline
DOME_PRIOR, TIE = 60.0, 1e-3  # weights beside the sum over rows of borders' distances

CAN_AT, CAN_WITHIN, CAN_HALF = (0.50, -0.46), 0.09, (0.098, 0.082)  # of the generator in `devices`


def cardiothoracic_ratio(images: np.ndarray) -> np.ndarray:
    """Widest heart over widest thorax, float64 [n], of uint8 [n, h, w]; NaN where no two lungs are found.

    The thorax is scaled to the outer borders of the lungs, and one ellipse each of ventricles and right atrium to their
    inner borders, so that an effusion may hide the widest place.
    """
    _check(images)
    return np.array([_ratio(image) for image in images])


def pacemaker_score(images: np.ndarray) -> np.ndarray:
    """How much brighter, grey levels, the best place for the can of a pacemaker is than its surround, float64 [n]."""
    _check(images)
    return np.array([_can(image) for image in images])


def _check(images: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images are {images.dtype} {images.shape}; give square grey levels, uint8 [n, h, h]")


def _ratio(image: np.ndarray) -> float:
    left, right = (_borders(image, side) for side in (-1, 1))  # inner and outer border of each row
    y, profile = _rows(len(image)), _thorax_profile(len(image))
    used = (y > THORAX_ROWS[0]) & (y < THORAX_ROWS[1]) & ~np.isnan(left[1] + right[1])
    if used.sum() < 4:
        return float("nan")
    middle = np.median((right[1] + left[1])[used] / 2.0)
    sides = np.concatenate([(right[1] - middle)[used] / profile[used], (middle - left[1])[used] / profile[used]])
    half = np.quantile(sides, THORAX_QUANTILE)
    inner = [side * (border[0] - middle) / ZOOM for side, border in ((-1, left), (1, right))]
    growth, atrium = _heart(*inner)
    reach_right, reach_left = _reaches(growth)
    reach_left = max(reach_left, ATRIUM_AT + atrium - ATRIUM_EDGE)
    heart = reach_right - VENTRICLE_EDGE + reach_left
    return float(ZOOM * heart / (2.0 * (half - THORAX_EDGE)))


def _rows(size: int) -> np.ndarray:
    """Patient coordinate y of each row of pixels, for a patient in the middle of the image."""
    return ((np.arange(size) + 0.5) / size * 2.0 - 1.0) / ZOOM


def _borders(image: np.ndarray, side: int) -> np.ndarray:
    """Where the lung on one side begins and ends, from the midline, [2, h] image coordinates; NaN without lung."""
    size = len(image)
    grey = ndimage.gaussian_filter(image.astype(np.float64), SMOOTHING * size)
    columns = np.arange(size // 2, size) if side > 0 else np.arange(size - size // 2)[::-1]
    x = (columns + 0.5) / size * 2.0 - 1.0
    columns = columns[np.abs(x) < REACH]
    dark = grey[:, columns] < LUNG_BELOW  # [h, w / 2], from the midline outwards
    borders = np.full((2, size), np.nan)
    for row in np.flatnonzero(dark.sum(1) > 0.05 * size):
        first, last = np.flatnonzero(dark[row])[[0, -1]]
        if first and last + 1 < len(columns):
            borders[0, row] = _crossing(grey[row], columns[first - 1], columns[first], size)
            borders[1, row] = _crossing(grey[row], columns[last + 1], columns[last], size)
    return borders


def _crossing(line: np.ndarray, bright: int, dark: int, size: int) -> float:
    """Where between two neighbours the line passes the lung's grey level, image coordinates."""
    part = (line[bright] - LUNG_BELOW) / (line[bright] - line[dark])
    return float((bright + part * (dark - bright) + 0.5) / size * 2.0 - 1.0)


@functools.cache
def _thorax_profile(size: int) -> np.ndarray:
    """The cage's outer border at each row over its widest, [h], of the average lung."""
    x, y = np.linspace(0.3, 0.85, 551)[None], _rows(size)[:, None]
    dx, dy = x - 0.37, y + 0.02
    cos, sin = np.cos(-LUNG_TILT), np.sin(-LUNG_TILT)
    norm = np.abs((dx * cos + dy * sin) / 0.30) ** LUNG_POWER + np.abs((dy * cos - dx * sin) / 0.76) ** LUNG_POWER
    outer = np.where(norm < 1, x, 0.0).max(1)
    return outer / outer.max()


def _reaches(growth: float) -> tuple[float, float]:
    """How far the ventricles reach to the right and to the left of the midline, patient coordinates."""
    centre, rx, ry = 0.12 + 0.45 * growth, 0.31 + growth, 0.21 + 0.45 * growth
    reach = np.hypot(rx * np.cos(HEART_TILT), ry * np.sin(HEART_TILT))
    return centre + reach, reach - centre


def _heart(left: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Growth of the ventricles and half width of the atrium whose borders follow those of the lungs [h] best.

    Both hang from one diaphragm, whose height is sought with them: one side's border stands in for the other's.
    """
    atria, ventricles = _heart_borders(len(left))  # [sizes, domes, h]
    misses = [_miss(atria, left), _miss(ventricles, right)]  # [sizes, domes]
    misses[0] += TIE * np.abs(ATRIA - 0.18)[:, None]  # what no row decides stays average
    misses[1] += TIE * np.abs(GROWTHS)[:, None]
    dome = np.argmin(misses[0].min(0) + misses[1].min(0) + DOME_PRIOR * (DOMES - 0.37) ** 2)
    return float(GROWTHS[np.argmin(misses[1][:, dome])]), float(ATRIA[np.argmin(misses[0][:, dome])])


def _miss(models: np.ndarray, border: np.ndarray) -> np.ndarray:
    y = _rows(len(border))
    used = (y > HEART_ROWS[0]) & (y < HEART_ROWS[1]) & (border > PEDICLE)
    apart = np.abs(np.nan_to_num(models[..., used], nan=9.0) - border[used])
    return np.minimum(apart, OFF).sum(-1)


@functools.cache
def _heart_borders(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Left borders of atria and right borders of ventricles, [sizes, domes, h]; NaN above and below them."""
    y, dome = _rows(size), DOMES[None, :, None]
    growth, atrium = GROWTHS[:, None, None], ATRIA[:, None, None]
    cx, dy, rx, ry = 0.12 + 0.45 * growth, y - dome + 0.25, 0.31 + growth, 0.21 + 0.45 * growth
    cos, sin = np.cos(HEART_TILT), np.sin(HEART_TILT)
    a = (cos / rx) ** 2 + (sin / ry) ** 2  # of the quadratic for x - cx on the tilted ellipse
    b = dy * sin * cos * (1 / rx**2 - 1 / ry**2)
    c = dy**2 * ((sin / rx) ** 2 + (cos / ry) ** 2) - 1.0
    with np.errstate(invalid="ignore"):
        ventricles = cx + (-b + np.sqrt(b**2 - a * c)) / a
        atria = ATRIUM_AT + atrium * np.sqrt(1.0 - ((y - dome + 0.30) / 0.27) ** 2)
    return atria, ventricles


def _can(image: np.ndarray) -> float:
    size = len(image)
    grey, pixel = image.astype(np.float64), 2.0 / size / ZOOM
    sides = [2 * round(half / pixel) + 1 for half in CAN_HALF]  # columns, rows
    inner = ndimage.uniform_filter(grey, (sides[1], sides[0]))
    outer = ndimage.uniform_filter(grey, (2 * sides[1] + 1, 2 * sides[0] + 1))
    x, y = np.meshgrid(_rows(size), _rows(size))
    near = (np.abs(x - CAN_AT[0]) < CAN_WITHIN) & (np.abs(y - CAN_AT[1]) < CAN_WITHIN)
    return float((inner - outer)[near].max())
