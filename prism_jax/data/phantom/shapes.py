"""Implicit shapes and curves on the pixel grid; signed distances are negative inside."""

import jax
import jax.numpy as jnp
import numpy as np

SPANS = 5  # a wire passes through SPANS + 1 points
STEPS = 4  # straight segments between two of them


def grid(size: int) -> tuple[jax.Array, jax.Array]:
    """Pixel centres in [-1, 1]: x to the right, y down, each float32 [size, size]."""
    axis = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size * 2.0 - 1.0
    return jnp.broadcast_to(axis[None, :], (size, size)), jnp.broadcast_to(axis[:, None], (size, size))


def inside(distance: jax.Array, softness: float | jax.Array) -> jax.Array:
    """Soft indicator of a shape: 1 inside, 0 outside, 1/2 on the edge."""
    return jax.nn.sigmoid(-distance / softness)


def superellipse(x, y, cx, cy, rx, ry, rotation=0.0, power=2.0) -> jax.Array:
    """About the signed distance to a superellipse; `rotation` in radians, clockwise on the image."""
    cos, sin = jnp.cos(rotation), jnp.sin(rotation)
    u = jnp.abs((x - cx) * cos + (y - cy) * sin) / rx
    v = jnp.abs((y - cy) * cos - (x - cx) * sin) / ry
    if isinstance(power, float) and power == 2.0:
        norm = jnp.sqrt(u * u + v * v)
    else:  # a tiny floor keeps the logarithm of the power finite
        powers = jnp.exp(power * jnp.log(u + 1e-6)) + jnp.exp(power * jnp.log(v + 1e-6))
        norm = jnp.exp(jnp.log(powers) / power)
    return (norm - 1.0) * jnp.minimum(rx, ry)


def smooth_max(a: jax.Array, b: jax.Array, radius: float) -> jax.Array:
    """Maximum (intersection of shapes) whose crease is rounded over `radius`."""
    gap = jnp.maximum(radius - jnp.abs(a - b), 0.0) / radius
    return jnp.maximum(a, b) + gap * gap * radius * 0.25


def smooth_min(a: jax.Array, b: jax.Array, radius: float) -> jax.Array:
    """Minimum (union of shapes) whose crease is rounded over `radius`."""
    return -smooth_max(-a, -b, radius)


def bump(t: jax.Array) -> jax.Array:
    """Unit Gaussian bump exp(-t^2)."""
    return jnp.exp(-t * t)


def total(density, parameters, like: jax.Array) -> jax.Array:
    """Sum of `density(parameters[i])` over the leading axis, an image shaped like `like`.

    A scan, not a vmap: its body works on one image at a time, which stays in cache and compiles once.
    """

    def add(image, one):
        return image + density(one), None

    return jax.lax.scan(add, jnp.zeros_like(like), parameters)[0]


def _interpolation() -> np.ndarray:
    """[SPANS * STEPS + 1, SPANS + 1] weights of a Catmull-Rom curve through its points."""
    rows = []
    for t in np.linspace(0, SPANS, SPANS * STEPS + 1):
        span = min(int(t), SPANS - 1)
        f = t - span
        weights = 0.5 * np.array([-f + 2 * f**2 - f**3, 2 - 5 * f**2 + 3 * f**3, f + 4 * f**2 - 3 * f**3, f**3 - f**2])
        row = np.zeros(SPANS + 3)
        row[span : span + 4] = weights
        # the phantom points before the first and after the last are mirror images
        row[1:3] += (2 * row[0], -row[0])
        row[-3:-1] += (-row[-1], 2 * row[-1])
        rows.append(row[1:-1])
    return np.array(rows, np.float32)


_CURVE = _interpolation()


def distance_to_curve(x: jax.Array, y: jax.Array, points: jax.Array) -> jax.Array:
    """Distance to the smooth curve through `points` [SPANS + 1, 2], as straight segments."""
    curve = jnp.matmul(_CURVE, points, precision="highest")
    nearest = jnp.full_like(x, jnp.inf)
    for i in range(SPANS * STEPS):
        (ax, ay), (bx, by) = curve[i], curve[i + 1]
        dx, dy = bx - ax, by - ay
        inverse = 1.0 / (dx * dx + dy * dy + 1e-9)
        px, py = x - ax, y - ay
        t = jnp.clip((px * dx + py * dy) * inverse, 0.0, 1.0)
        qx, qy = px - t * dx, py - t * dy
        nearest = jnp.minimum(nearest, qx * qx + qy * qy)
    return jnp.sqrt(nearest)


def wire(distance: jax.Array, width: jax.Array) -> jax.Array:
    """Flat-topped profile exp(-(distance / width)^4) of a wire."""
    t = distance / width
    return jnp.exp(-(t * t * t * t))
