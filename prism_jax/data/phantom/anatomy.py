"""Attenuation of the patient without devices: smooth implicit shapes in patient coordinates."""

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax.data.phantom.equations import Exogenous
from prism_jax.data.phantom.geometry import HEART_TILT, LUNG_POWER, LUNG_TILT, Geometry
from prism_jax.data.phantom.shapes import (
    SPANS,
    bump,
    distance_to_curve,
    inside,
    smooth_max,
    smooth_min,
    superellipse,
    total,
)

BRANCHES = 8  # vessels drawn on each side


def anatomy(x: jax.Array, y: jax.Array, g: Geometry, u: Exogenous) -> jax.Array:
    """Attenuation [h, w] of the patient; negative air contributions included."""
    side = jnp.abs(x)
    body, soft = _soft_tissue(x, y, g)
    cage = superellipse(side, y, *g.lung, -LUNG_TILT, LUNG_POWER)
    dome = _diaphragm(x, g)
    silhouette = inside(_heart(x, y, dome, g), 0.010)
    lung = inside(_lung(side, y, cage, dome, g), 0.012)
    fluid = inside(_meniscus(x, g) - y, 0.014)
    aerated = lung * (1.0 - 0.86 * silhouette) * (1.0 - 0.86 * fluid)  # heart and fluid displace air
    vessels = _vessels(x, y, g, u)
    hilum = 0.10 * bump((side - 0.17) / 0.08) * bump((y + 0.10) / 0.15)
    centre = _mediastinum(x, y, g)
    abdomen = 0.05 * inside(dome - y, 0.012) * inside(cage - 0.10, 0.08)
    stomach = -0.16 * inside(superellipse(x, y, 0.33, g.dome[1] + 0.16, 0.14, 0.075, 0.2), 0.012)
    return (
        soft
        + body * (_bones(x, y, cage, dome, g) * (1.0 - 0.4 * jnp.maximum(silhouette, lung * fluid)))
        + body * (centre + abdomen + 0.07 * silhouette + stomach)
        + aerated * (vessels + hilum - g.air)
    )


def _soft_tissue(x: jax.Array, y: jax.Array, g: Geometry) -> tuple[jax.Array, jax.Array]:
    """Indicator and attenuation of the body: trunk, shoulders, neck, breasts."""
    trunk = superellipse(x, y, 0.0, 0.55, 0.86 * g.width, 1.35, 0.0, 3.2)
    shoulders = superellipse(x, y, 0.0, -0.55, 1.02 * g.width, 0.34, 0.0, 3.0)
    neck = superellipse(x, y, 0.0, -1.0, 0.26, 0.45)
    body = inside(smooth_min(smooth_min(trunk, shoulders, 0.35), neck, 0.25), 0.010)
    depth = jnp.sqrt(jnp.maximum(1.0 - (x / (1.04 * g.width)) ** 2, 0.0))
    breast = superellipse(jnp.abs(x), y, 0.43 * g.width, 0.29, 0.31, 0.28)
    edge = 0.03 + 0.09 * jax.nn.sigmoid((0.32 - y) / 0.08)  # soft above, where the breast merges with the chest
    faded = inside(breast, edge) * jax.nn.sigmoid((y - 0.12) / 0.09)
    return body, body * (0.45 + 0.29 * depth + (0.13 - 0.10 * g.male) * faded)


def _diaphragm(x: jax.Array, g: Geometry) -> jax.Array:
    """Height of the domes above each x; the costophrenic angle falls off steeply."""
    level = jnp.where(x < 0, g.dome[0], g.dome[1])
    q = (jnp.abs(x) - 0.36 * g.width) / 0.30
    return level + 0.09 * q * q + 0.09 * jnp.maximum(q, 0.0) ** 3


def _lung(side: jax.Array, y: jax.Array, cage: jax.Array, dome: jax.Array, g: Geometry) -> jax.Array:
    mediastinum = 0.115 + 0.012 * g.ap + 0.02 * bump((y + 0.45) / 0.25) - side
    return smooth_max(smooth_max(cage, y - dome, 0.03), mediastinum, 0.04)


def _heart(x: jax.Array, y: jax.Array, dome: jax.Array, g: Geometry) -> jax.Array:
    ventricle = superellipse(x, y, g.heart[0], g.heart[1], g.heart[2], g.heart[3], HEART_TILT)
    atrium = superellipse(x, y, g.heart_disc[0], g.heart_disc[1], g.heart_disc[2], g.heart_disc[3])
    vessels = superellipse(x, y, 0.03, -0.12, 0.125 + 0.012 * g.ap, 0.36, 0.0, 2.4)
    knob = superellipse(x, y, 0.125, -0.36, g.knob, g.knob)
    chambers = smooth_min(ventricle, atrium, 0.08)
    return smooth_max(smooth_min(chambers, smooth_min(vessels, knob, 0.05), 0.12), y - dome - 0.03, 0.04)


def _meniscus(x: jax.Array, g: Geometry) -> jax.Array:
    """Upper edge of the fluid, which climbs towards the chest wall; far below where there is none."""
    height = jnp.where(x < 0, g.fluid[0], g.fluid[1])
    lateral = jnp.clip((jnp.abs(x) - 0.12) / 0.53, 0.0, 1.0)
    level = jnp.where(x < 0, g.dome[0], g.dome[1])
    edge = level - height + 0.12 - 0.22 * lateral**3
    return jnp.where(height > 0.0, edge, 4.0)


def _vessels(x: jax.Array, y: jax.Array, g: Geometry, u: Exogenous) -> jax.Array:
    """Branches from each hilum over a fine texture of warped plane waves."""
    frequency = 6.0 + 28.0 * jax.nn.sigmoid(u.vessels[:, 0])
    angle, phase = 2.0 * u.vessels[:, 1], 6.0 * u.vessels[:, 2]

    def phases(axis, wave, shift):  # [h or w, 40]
        t = axis[:, None]
        return t * wave[None] + 0.8 * jnp.sin(5.0 * t + shift[None]) + shift[None]

    # a wave's phase is a function of the column plus one of the row, so their sum is one small matrix product
    across = phases(x[0], frequency * jnp.cos(angle), phase)
    down = phases(y[:, 0], frequency * jnp.sin(angle), 1.7 * phase)
    rows = jnp.concatenate([jnp.cos(down), -jnp.sin(down)], axis=1)
    columns = jnp.concatenate([jnp.cos(across), jnp.sin(across)], axis=1)
    texture = jnp.matmul(rows, columns.T, precision="highest") / np.sqrt(20.0)
    near = bump((jnp.abs(x) - 0.22) / 0.24) * bump((y + 0.02) / 0.42)
    return 0.05 * near * jnp.maximum(texture, -0.3) + _branches(x, y, u)


def _branches(x: jax.Array, y: jax.Array, u: Exogenous) -> jax.Array:
    """Vessels that taper away from the hilum; mirrored, then bent differently on the two sides."""
    jitter = u.vessels[:, 3]
    lean = jnp.where(x < 0, 0.10 * jitter[0], 0.10 * jitter[1] - 0.1)
    bend = jnp.where(x < 0, 3.0 * jitter[2], 3.0 * jitter[3] + 1.5)
    out, up = jnp.abs(x) - 0.12, y + jnp.where(x < 0, 0.06, 0.10)
    out, up = (
        out - lean * up + 0.018 * jnp.sin(10.0 * up + bend),
        up + lean * out + 0.022 * jnp.sin(9.0 * out + 0.7 * bend),
    )
    taper = jnp.clip(1.0 - 1.6 * jnp.hypot(out, up), 0.0, 1.0)

    def branch(one):
        start, angle, length, curl = one
        d = distance_to_curve(out, up, _arc(start, angle, length, curl))
        return bump(d / (0.005 + 0.018 * taper))

    return 0.12 * taper * jnp.minimum(total(branch, _tree(jitter[4:]), y), 1.3)


def _tree(jitter: jax.Array) -> tuple[jax.Array, ...]:
    """Start [b, 2], angle, length and curl [b] of branches from the hilum and of one twig on each."""
    angle = jnp.linspace(-1.35, 1.35, BRANCHES) + 0.12 * jitter[:BRANCHES]
    length = 0.48 + 0.05 * jitter[BRANCHES : 2 * BRANCHES]
    curl = jnp.linspace(0.5, -0.5, BRANCHES) + 0.3 * jitter[2 * BRANCHES : 3 * BRANCHES]
    fork = jnp.where(jitter[3 * BRANCHES : 4 * BRANCHES] > 0, 0.5, -0.5)
    reach = 0.3 * length
    start = reach[:, None] * jnp.stack([jnp.cos(angle + 0.3 * curl), jnp.sin(angle + 0.3 * curl)], axis=1)
    branches = jnp.zeros_like(start), angle, length, curl
    twigs = start, angle + fork, 0.6 * length, -fork
    return jax.tree.map(lambda *pair: jnp.concatenate(pair), branches, twigs)


def _arc(start: jax.Array, angle: jax.Array, length: jax.Array, curl: jax.Array) -> jax.Array:
    """Points [SPANS + 1, 2] of a curve that leaves `start` at `angle` and turns by about twice `curl`."""
    t = jnp.linspace(0.0, 1.0, SPANS + 1)
    turn = angle + curl * t
    return start[None] + length * t[:, None] * jnp.stack([jnp.cos(turn), jnp.sin(turn)], axis=1)


def _mediastinum(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """Spine, trachea with the main bronchi, superior vena cava."""
    side = jnp.abs(x)
    vertebrae = 0.025 * (1.0 - 0.25 * g.age) * jnp.cos(y * (2.0 * np.pi / 0.145))
    spine = inside(side - 0.105, 0.02) * (0.13 + vertebrae)
    trachea = inside(side - 0.036, 0.010) * inside(y + 0.24, 0.02)
    bronchi = inside(jnp.abs(y + 0.24 - 0.75 * (side - 0.02)) - 0.030, 0.010) * inside(side - 0.15, 0.02)
    cava = inside(superellipse(x, y, -0.10, -0.40, 0.055, 0.30), 0.02)
    return spine - 0.14 * jnp.maximum(trachea, 0.6 * bronchi) + 0.06 * cava


def _bones(x: jax.Array, y: jax.Array, cage: jax.Array, dome: jax.Array, g: Geometry) -> jax.Array:
    side = jnp.abs(x)
    above = 1.0 - 0.75 * inside(dome - y, 0.02)  # ribs fade against the abdomen
    chest = inside(cage - 0.035, 0.010) * above
    ribs = chest * (_posterior_ribs(side, y, g) + _anterior_ribs(side, y, g))
    wall = 0.5 * bump((cage - 0.022) / 0.016) * inside(-y - 0.60, 0.05) * above  # ribs seen on edge
    return g.bone * (ribs + wall + _clavicles(side, y, g) + _shoulders(side, y, g))


def _posterior_ribs(side: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    lateral = (side - 0.10) / (0.60 * g.width)
    index = jnp.arange(10, dtype=jnp.float32)

    def rib(i):
        slope = (g.ribs[1] + 0.020 * i) * lateral + 0.14 * lateral**3
        t = y - (-0.71 + g.ribs[0] * i + (slope - 0.05) * lateral)
        return inside(jnp.abs(t) - 0.026, 0.006) + 0.55 * bump((t - 0.022) / 0.009)

    return total(rib, index, y) * inside(0.10 - side, 0.02)


def _anterior_ribs(side: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    index = jnp.arange(7, dtype=jnp.float32)
    medial = (0.66 * g.width - side) / (0.60 * g.width)

    def rib(i):
        centre = -0.47 + (g.ribs[0] + 0.015) * i + (0.26 + 0.025 * i) * medial + 0.10 * medial * medial
        t = (y - centre) * 0.87
        return 0.55 * inside(jnp.abs(t) - 0.030, 0.008) + 0.15 * bump((t - 0.028) / 0.010)

    return total(rib, index, y) * inside(0.27 - side, 0.03)


def _clavicles(side: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    points = jnp.asarray([[0.07, -0.585], [0.17, -0.625], [0.30, -0.645], [0.44, -0.69], [0.58, -0.74], [0.74, -0.735]])
    points = jnp.stack([points[:, 0] * g.width, points[:, 1] - 0.06 * g.ap], axis=1)
    d = distance_to_curve(side, y, points)
    return 1.1 * inside(d - 0.026, 0.006) + 0.6 * bump((d - 0.022) / 0.008)


def _shoulders(side: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """Scapulae, pulled off the lungs in PA, and humeral heads."""
    blade = superellipse(side, y, (0.76 - 0.13 * g.ap) * g.width, -0.34, 0.12, 0.30, 0.25 - 0.1 * g.ap, 3.0)
    head = superellipse(side, y, 0.89 * g.width, -0.55, 0.105, 0.115)
    shaft = superellipse(side, y, 0.97 * g.width, -0.25, 0.06, 0.32, 0.05, 3.0)
    scapula = 0.55 * inside(blade, 0.010) + 0.5 * bump((blade + 0.008) / 0.010)
    return scapula + 1.1 * inside(smooth_min(head, shaft, 0.08), 0.012) + 0.4 * bump((head + 0.01) / 0.012)
