"""Attenuation of implanted and external devices: additive, always evaluated, multiplied by presence."""

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax.data.phantom.equations import Exogenous
from prism_jax.data.phantom.shapes import SPANS, bump, distance_to_curve, inside, superellipse, total, wire

CENTRAL_RATE, TRACHEAL_RATE, ENTERIC_RATE = 0.6, 0.55, 0.55

# Points that the wires pass through, in patient coordinates; the leads start at the generator.
ATRIAL = np.array([[0.31, -0.665], [0.09, -0.57], [-0.075, -0.38], [-0.075, 0.02], [-0.145, 0.03]], np.float32)
APICAL = np.array([[0.30, -0.645], [0.08, -0.55], [-0.055, -0.32], [-0.03, 0.14], [0.22, 0.28]], np.float32)
CENTRAL = np.array(
    [[-0.24, -1.05], [-0.20, -0.85], [-0.15, -0.68], [-0.10, -0.50], [-0.085, -0.34], [-0.09, -0.19]],
    np.float32,
)
ENTERIC = np.array(
    [[0.03, -1.10], [0.015, -0.65], [0.03, -0.15], [0.045, 0.30], [0.14, 0.55], [0.36, 0.62]], np.float32
)
ECG_DISCS = np.array([[-0.52, -0.42], [0.42, 0.30], [0.60, -0.30]], np.float32)
ECG_ENDS = np.array([[-0.50, 1.1], [0.85, 1.1], [0.98, -1.1]], np.float32)
ECG_SWAY = np.array([[-0.16, 0.02], [0.10, -0.06], [0.08, 0.10]], np.float32)


def devices(x: jax.Array, y: jax.Array, attributes: dict[str, jax.Array], u: Exogenous) -> jax.Array:
    """Attenuation [h, w] >= 0 of the pacemaker and the support lines of one subject."""
    pacemaker = attributes["pacemaker"].astype(jnp.float32)
    lines = attributes["support_lines"].astype(jnp.float32)
    half_pixel = 1.0 / x.shape[0]
    leads, line_wires = _leads(u), _lines(u)
    points, width, hollow, strength = (jnp.concatenate(pair) for pair in zip(leads, line_wires, strict=True))
    shown = jnp.concatenate([jnp.full(leads[1].shape, pacemaker), jnp.full(line_wires[1].shape, lines)])

    def draw(one):
        points, width, hollow, strength = one
        d = jnp.abs(distance_to_curve(x, y, points) - hollow)
        return strength * wire(d, jnp.maximum(width, half_pixel))

    wires = total(draw, (points, width, hollow, strength * shown), y)
    return wires + pacemaker * _generator(x, y, u) + lines * _electrodes(x, y, u)


def _generator_centre(u: Exogenous) -> jax.Array:
    return jnp.array([0.50, -0.46]) + 0.025 * u.pacemaker_jitter[:2]


def _generator(x: jax.Array, y: jax.Array, u: Exogenous) -> jax.Array:
    """The can: a battery, denser than the circuitry, a rim, and a header of plastic."""
    cx, cy = _generator_centre(u)
    turn = 0.12 * u.pacemaker_jitter[2]
    can = superellipse(x, y, cx, cy, 0.098, 0.082, turn, 3.2)
    battery = superellipse(x, y, cx, cy + 0.022, 0.072, 0.042, turn, 4.0)
    header = superellipse(x, y, cx - 0.01, cy - 0.085, 0.060, 0.026, turn, 3.0)
    metal = 0.24 * inside(can, 0.005) + 0.16 * inside(battery, 0.005) + 0.12 * bump((can + 0.010) / 0.009)
    return metal + 0.16 * inside(header, 0.006) * (1.0 - inside(can, 0.005))


def _leads(u: Exogenous) -> tuple[jax.Array, ...]:
    """Two leads, through the subclavian vein to right atrium and right ventricle, and their electrodes."""
    j = 0.012 * u.pacemaker_jitter
    start = _generator_centre(u) + jnp.array([-0.03, -0.09])
    atrial = ATRIAL + jnp.stack([jnp.zeros(2), j[:2], j[2:4], j[2:4], j[3:5]])
    apical = APICAL + jnp.stack([jnp.zeros(2), j[:2], j[2:4], j[1:3], j[4:6]])
    leads = [jnp.concatenate([start[None], points]) for points in (atrial, apical)]
    tips = [
        _straight(0.28 * lead[-2] + 0.72 * lead[-1] + jnp.array([0.0, sag]), lead[-1])
        for lead, sag in zip(leads, (0.028, 0.020), strict=True)
    ]
    width, strength = jnp.array([0.006, 0.006, 0.012, 0.012]), jnp.array([0.26, 0.26, 0.25, 0.25])
    return jnp.stack([*leads, *tips]), width, jnp.zeros(4), strength


def _straight(start: jax.Array, end: jax.Array) -> jax.Array:
    t = jnp.linspace(0.0, 1.0, SPANS + 1)[:, None]
    return start[None] * (1.0 - t) + end[None] * t


def _discs(u: Exogenous) -> jax.Array:
    """Centres [3, 2] of the ECG electrodes."""
    return ECG_DISCS + 0.05 * u.line_jitter[9:15].reshape(3, 2)


def _discs_shown(u: Exogenous) -> jax.Array:
    return (jnp.arange(3) < 1.0 + jnp.floor(3.0 * u.line_choice[3])).astype(jnp.float32)


def _lines(u: Exogenous) -> tuple[jax.Array, ...]:
    """Central line, tracheal tube (two walls), enteric tube and the wires of the ECG electrodes."""
    j = 0.012 * u.line_jitter
    central = CENTRAL + jnp.stack([j[0:2], j[0:2], j[1:3], j[2:4], j[2:4], 2.0 * j[3:5]])
    tip = jnp.stack([0.5 * j[5], -0.42 + 3.0 * j[6]])  # above the carina, at varied depth
    tracheal = _straight(jnp.array([0.02, -1.10]) + j[4:6], tip)
    enteric = ENTERIC + jnp.stack([j[4:6], j[6:8], j[6:8], j[7:9], j[7:9], 2.0 * j[8:10]])
    sway = ECG_SWAY + 4.0 * j[:6].reshape(3, 2)
    arc = jnp.array([0.0, 0.7, 1.0, 0.9, 0.5, 0.0])[:, None]
    ecg = jax.vmap(_straight)(_discs(u), ECG_ENDS) + arc[None] * sway[:, None]

    points = jnp.concatenate([jnp.stack([central, tracheal, enteric]), ecg])
    width = jnp.array([0.0065, 0.0055, 0.008, 0.006, 0.006, 0.006])
    hollow = jnp.array([0.0, 0.017, 0.0, 0.0, 0.0, 0.0])
    strength = jnp.array([0.22, 0.18, 0.20, 0.20, 0.20, 0.20])
    return points, width, hollow, strength * jnp.concatenate([_tubes_shown(u), _discs_shown(u)])


def _tubes_shown(u: Exogenous) -> jax.Array:
    tracheal, enteric = u.line_choice[1] < TRACHEAL_RATE, u.line_choice[2] < ENTERIC_RATE
    central = (u.line_choice[0] < CENTRAL_RATE) | ~(tracheal | enteric)  # never electrodes alone
    return jnp.stack([central, tracheal, enteric]).astype(jnp.float32)


def _electrodes(x: jax.Array, y: jax.Array, u: Exogenous) -> jax.Array:
    """ECG discs: a conductive pad and its metal snap."""

    def disc(one):
        centre, shown = one
        d = jnp.hypot(x - centre[0], y - centre[1])
        return shown * (0.10 * inside(d - 0.038, 0.005) + 0.22 * inside(d - 0.015, 0.004))

    return total(disc, (_discs(u), _discs_shown(u)), y)
