"""Geometry of a subject's anatomy, shared by its image and its cardiothoracic ratio."""

import jax
import jax.numpy as jnp
from flax import struct

from prism_jax.data.phantom.equations import Exogenous

LUNG_POWER = 2.6
LUNG_TILT = 0.10
HEART_TILT = 0.55
ZOOM = 1.10  # fills the image with the chest
BILATERAL_RATE = 0.35  # of effusions


@struct.dataclass
class Geometry:
    """One subject in patient coordinates: x right, y down; the patient's left is image right."""

    male: jax.Array
    ap: jax.Array  # 1: AP portable, 0: PA
    age: jax.Array  # (years - 60) / 15
    shift: jax.Array  # [2] of the patient in the image
    scale: jax.Array
    rotation: jax.Array  # radians
    width: jax.Array  # of the body, 1 on average
    air: jax.Array  # attenuation that the lungs lack
    lung: jax.Array  # [4] cx (of the right half), cy, rx, ry
    dome: jax.Array  # [2] height of the diaphragm, image left and right
    heart: jax.Array  # [4] tilted ellipse of the ventricles: cx, cy, rx, ry
    heart_disc: jax.Array  # [4] right atrium: cx, cy, rx, ry
    knob: jax.Array  # radius of the aortic knob
    fluid: jax.Array  # [2] height of the effusion over the diaphragm, image left and right; 0 where none
    ribs: jax.Array  # [2] spacing, slope
    bone: jax.Array  # attenuation of a rib
    exposure: jax.Array  # gain of the attenuation


def geometry(attributes: dict[str, jax.Array], u: Exogenous) -> Geometry:
    """Geometry of one subject with these attributes."""
    male, ap, card, eff = (attributes[name].astype(jnp.float32) for name in ("sex", "view", "cardiomegaly", "effusion"))
    age = (attributes["age"] - 60.0) / 15.0
    z = u.anatomy
    width = 1.0 + 0.05 * (male - 0.5) + 0.03 * z[4]
    lung = jnp.stack([0.37 * width, -0.02 + 0.01 * z[5], 0.30 * width, 0.76 + 0.02 * z[6]])
    dome = 0.42 + 0.04 * z[7] - 0.10 * ap
    half_width = (0.31 + 0.025 * z[8] + card * (0.07 + 0.07 * u.cardiomegaly_severity)) * (1.0 + 0.12 * ap)
    growth = half_width - 0.31
    disc = 0.165 * (1.0 + 0.12 * ap) + card * (0.02 + 0.03 * u.cardiomegaly_severity)
    sides = effusion_sides(u).astype(jnp.float32)
    return Geometry(
        male=male,
        ap=ap,
        age=age,
        shift=jnp.stack([0.02 * z[0], 0.02 * z[1] + 0.03 * ap]),
        scale=ZOOM * (1.0 + 0.03 * z[2] + 0.03 * ap),
        rotation=jnp.deg2rad(1.0) * z[3],
        width=width,
        air=0.46 + 0.03 * z[9] + 0.02 * age,
        lung=lung,
        dome=jnp.stack([dome - 0.05 + 0.015 * z[10], dome]),
        heart=jnp.stack([0.12 + 0.45 * growth + 0.01 * z[11], dome - 0.25, half_width, 0.21 + 0.45 * growth]),
        heart_disc=jnp.stack([-0.075, dome - 0.30, disc, 0.27]),
        knob=jnp.maximum(0.075 + 0.018 * age, 0.03),
        fluid=eff * sides * (0.14 + 0.40 * u.effusion_severity),
        ribs=jnp.stack([0.135 + 0.006 * z[12], 0.10 + 0.05 * z[13]]),
        bone=0.095 * (1.0 - 0.16 * age),
        exposure=1.0 + 0.05 * z[14],
    )


def effusion_sides(u: Exogenous) -> jax.Array:
    """Bool [2], image left (the patient's right) and image right: where an effusion lies if there is one."""
    bilateral = u.effusion_side[0] < BILATERAL_RATE
    right = u.effusion_side[1] < 0.5
    return bilateral | jnp.stack([~right, right])


def cardiothoracic_ratio(attributes: dict[str, jax.Array], u: Exogenous) -> jax.Array:
    """Widest heart over widest thorax, in closed form from the extents of the ellipses."""
    g = geometry(attributes, u)
    cx, _, rx, ry = g.heart
    reach = jnp.hypot(rx * jnp.cos(HEART_TILT), ry * jnp.sin(HEART_TILT))
    heart_right, heart_left = cx + reach, jnp.minimum(cx - reach, g.heart_disc[0] - g.heart_disc[2])
    dual = LUNG_POWER / (LUNG_POWER - 1.0)  # the support function of a superellipse is the dual norm
    across = (g.lung[2] * jnp.cos(LUNG_TILT)) ** dual + (g.lung[3] * jnp.sin(LUNG_TILT)) ** dual
    return (heart_right - heart_left) / (2.0 * (g.lung[0] + across ** (1.0 / dual)))
