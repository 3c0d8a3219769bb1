"""The structural causal model: exogenous noise, structural equations, interventions."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

ATTRIBUTES = ("sex", "age", "cardiomegaly", "effusion", "pacemaker", "support_lines", "view", "group")
BINARY = ("sex", "cardiomegaly", "effusion", "pacemaker", "support_lines", "view")
MODES = ("graph", "surgical")
AGE_RANGE = (18.0, 90.0)
GROUPS = 3
# Binary attribute -> its causes, in the order of the sum; causes come before their effects.
CAUSES = {
    "cardiomegaly": ("age", "sex"),
    "effusion": ("age", "cardiomegaly"),
    "pacemaker": ("age", "cardiomegaly"),
    "support_lines": ("effusion", "cardiomegaly"),
    "view": ("support_lines", "effusion"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Equations:
    """Coefficients of the logistic structural equations: `effect` is a bias, `effect_cause` a slope.

    A binary attribute is 1 where its uniform noise is below sigmoid(bias + slopes * causes); age enters as
    (age - 60) / 15, and is itself 18 + 72 sigmoid(age + age_spread * noise).
    """

    sex: float = 0.0
    age: float = 0.45
    age_spread: float = 0.95
    cardiomegaly: float = -1.0
    cardiomegaly_age: float = 0.55
    cardiomegaly_sex: float = 0.25
    effusion: float = -0.9
    effusion_age: float = 0.9
    effusion_cardiomegaly: float = 0.5
    pacemaker: float = -3.2
    pacemaker_age: float = 0.5
    pacemaker_cardiomegaly: float = 2.6
    support_lines: float = -1.3
    support_lines_effusion: float = 1.3
    support_lines_cardiomegaly: float = 0.4
    view: float = -0.8
    view_support_lines: float = 1.6
    view_effusion: float = 0.5

    @classmethod
    def preset(cls, name: str) -> "Equations":
        """The preset of this name in `PRESETS`; ValueError for an unknown one."""
        if name not in PRESETS:
            raise ValueError(f"no phantom preset named {name!r}; use one of {', '.join(PRESETS)}")
        return PRESETS[name]


_NO_SLOPES = {f"{effect}_{cause}": 0.0 for effect, causes in CAUSES.items() for cause in causes}
PRESETS = {
    # The planted confounding: cardiomegaly -> pacemaker and age -> effusion, among others.
    "default": Equations(),
    # Default with the cardiomegaly -> pacemaker slope raised to 5: P(pm | card) .87 against .04.
    "strong": Equations(pacemaker_cardiomegaly=5.0),
    # No arrow between attributes; each bias is the logit of the attribute's rate under "default".
    "none": Equations(
        cardiomegaly=-0.80, effusion=-0.57, pacemaker=-1.70, support_lines=-0.66, view=-0.10, **_NO_SLOPES
    ),
    # Default with the cardiomegaly -> pacemaker slope negated; the bias keeps the rate of pacemakers.
    "reversed": Equations(pacemaker=-1.40, pacemaker_cardiomegaly=-2.6),
    # "none" with a rate of 0.5 for every finding and view.
    "balanced": Equations(cardiomegaly=0.0, effusion=0.0, pacemaker=0.0, support_lines=0.0, view=0.0, **_NO_SLOPES),
}


@struct.dataclass
class Exogenous:
    """Exogenous noise of one subject, drawn whether or not an attribute uses it."""

    sex: jax.Array  # [] uniform, as are the next six
    cardiomegaly: jax.Array
    effusion: jax.Array
    pacemaker: jax.Array
    support_lines: jax.Array
    view: jax.Array
    group: jax.Array
    age: jax.Array  # [] standard normal
    cardiomegaly_severity: jax.Array  # [] uniform
    effusion_severity: jax.Array  # [] uniform
    effusion_side: jax.Array  # [2] uniform: is it bilateral; which side if it is not
    anatomy: jax.Array  # [24] normal, sd 0.6
    pacemaker_jitter: jax.Array  # [6] normal
    line_jitter: jax.Array  # [15] normal
    line_choice: jax.Array  # [4] uniform: central line, tracheal tube, enteric tube, ECG leads
    vessels: jax.Array  # [40, 4] normal
    noise_key: jax.Array  # [] key of the pixel noise


def exogenous(seed: int | jax.Array, index: int | jax.Array) -> Exogenous:
    """Noise of subject `index` (scalar, 0 <= index < 2^31) of the data set `seed`; vmappable over either."""
    subject = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), index)

    def streams(draw, names, length):  # {name: [length]}, one draw from the key of each name
        hashes = np.array([zlib.crc32(name.encode()) for name in names], np.uint32)  # hash() varies by process
        keys = jax.vmap(partial(jax.random.fold_in, subject))(hashes)
        return dict(zip(names, jax.vmap(partial(draw, shape=(length,)))(keys), strict=True))

    scalars = (*BINARY, "group", "cardiomegaly_severity", "effusion_severity")
    uniform = streams(jax.random.uniform, (*scalars, "effusion_side", "line_choice"), 4)
    normal = streams(jax.random.normal, ("age", "anatomy", "pacemaker_jitter", "line_jitter"), 24)
    return Exogenous(
        **{name: uniform[name][0] for name in scalars},
        age=normal["age"][0],
        effusion_side=uniform["effusion_side"][:2],
        anatomy=0.6 * normal["anatomy"],
        pacemaker_jitter=normal["pacemaker_jitter"][:6],
        line_jitter=normal["line_jitter"][:15],
        line_choice=uniform["line_choice"],
        vessels=streams(jax.random.normal, ("vessels",), 160)["vessels"].reshape(40, 4),
        noise_key=jax.random.fold_in(subject, zlib.crc32(b"noise")),
    )


def intervene(
    u: Exogenous, equations: Equations, given: Mapping, chosen: Mapping, surgical: bool | jax.Array
) -> dict[str, jax.Array]:
    """Attributes of one subject, `given[name]` where `chosen[name]`: age float32 in years, the others int32.

    The descendants of the chosen attributes are recomputed with the subject's own noise; if `surgical`, all other
    attributes stay factual. Every argument may be traced: one program serves every intervention, and untouched
    attributes agree to the last bit.
    """

    def override(name, value):
        return jnp.where(chosen[name], given[name], value)

    factual = _solve(u, equations, lambda name, value: value)
    replayed = _solve(u, equations, override)
    return {name: override(name, jnp.where(surgical, factual[name], replayed[name])) for name in ATTRIBUTES}


def check_intervention(do: Mapping[str, float | jax.Array], mode: str) -> None:
    """Raises ValueError, with the remedy, for an intervention that the equations do not support."""
    if mode not in MODES:
        raise ValueError(f"no intervention mode {mode!r}; use one of {', '.join(MODES)}")
    for name, value in do.items():
        if name not in ATTRIBUTES:
            raise ValueError(f"no attribute {name!r} to intervene on; use one of {', '.join(ATTRIBUTES)}")
        if isinstance(value, jax.core.Tracer):
            continue
        value = np.asarray(value, np.float64)
        if name == "age":
            fits, limit = (value >= AGE_RANGE[0]) & (value <= AGE_RANGE[1]), "between 18 and 90 years"
        elif name == "group":
            fits, limit = np.isin(value, range(GROUPS)), f"a whole number from 0 to {GROUPS - 1}"
        else:
            fits, limit = np.isin(value, (0, 1)), "0 or 1"
        if not fits.all():
            raise ValueError(f"cannot set {name} to {value[~fits].flat[0]:g}; give {limit}")


def _solve(u: Exogenous, e: Equations, override: Callable) -> dict[str, jax.Array]:
    """Evaluates the structural equations in causal order; each value passes through `override(name, value)`."""

    def settle(name, value):
        return override(name, jnp.asarray(value).astype(jnp.float32 if name == "age" else jnp.int32))

    def happens(name, logit):  # one uniform against a probability: the monotone coupling of counterfactuals
        return settle(name, getattr(u, name) < jax.nn.sigmoid(logit))

    sex = happens("sex", e.sex)
    low, high = AGE_RANGE
    age = settle("age", low + (high - low) * jax.nn.sigmoid(e.age + e.age_spread * u.age))
    values = {"sex": sex, "age": (age - 60.0) / 15.0}
    for name, causes in CAUSES.items():
        slopes = (getattr(e, f"{name}_{cause}") * values[cause] for cause in causes)
        values[name] = happens(name, sum(slopes, start=getattr(e, name)))
    return values | {"age": age, "group": settle("group", jnp.floor(u.group * GROUPS))}
