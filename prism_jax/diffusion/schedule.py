"""The noise schedule: how much signal is left at every timestep, and what follows from that.

Symbols: `alpha` is the cumulative product written alpha-bar in DDPM (arXiv 2006.11239) and `alphas_cumprod`
in diffusers; a noisy latent is `x_t = sqrt(alpha) x_0 + sqrt(1 - alpha) eps`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

BETA_SCHEDULES = ("scaled_linear", "linear")
PREDICTION_TYPES = ("epsilon", "v_prediction")
TIMESTEP_SPACINGS = ("leading", "trailing", "linspace")

# Settings of diffusers schedulers that change results when they are on, and are not supported.
_REQUIRED_OFF = ("trained_betas", "clip_sample", "thresholding", "rescale_betas_zero_snr", "use_flow_sigmas")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The part of a diffusers `scheduler_config.json` that decides the schedule; defaults of SD 1.x."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: str = "scaled_linear"
    prediction_type: str = "epsilon"
    timestep_spacing: str = "leading"
    steps_offset: int = 1  # added to every timestep; "leading" spacing only
    set_alpha_to_one: bool = False  # alpha before the first timestep: 1, or else the alpha of timestep 0

    def __post_init__(self) -> None:
        _one_of("beta_schedule", self.beta_schedule, BETA_SCHEDULES)
        _one_of("prediction_type", self.prediction_type, PREDICTION_TYPES)
        _one_of("timestep_spacing", self.timestep_spacing, TIMESTEP_SPACINGS)
        if self.num_train_timesteps < 2:
            raise ValueError(f"num_train_timesteps is {self.num_train_timesteps}; use at least 2")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(f"betas {self.beta_start} to {self.beta_end} do not fit; need 0 < start <= end < 1")

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> ScheduleConfig:
        """Reads any diffusers scheduler config the way `DDIMScheduler.from_config` would.

        Settings of the sampler itself (`skip_prk_steps`, `algorithm_type`, ...) are ignored: which sampler
        runs is the caller's choice. Raises ValueError for anything that would give other latents than
        diffusers.
        """
        name = config.get("_class_name", "DDIMScheduler")
        missing = [key for key in ("beta_start", "beta_end", "beta_schedule") if key not in config]
        if missing:
            raise ValueError(f"scheduler config ({name}) lacks {', '.join(missing)}; save one of a DDIMScheduler")
        # These two classes clip the predicted image to [-1, 1] by default: wrong for latents.
        settings = {"clip_sample": name in ("DDIMScheduler", "DDPMScheduler"), **config}
        for key in _REQUIRED_OFF:
            if settings.get(key) not in (None, False):
                raise ValueError(
                    f"scheduler setting {key} is {settings[key]!r}, which is not supported; if the model was "
                    f"not trained with it, write {json.dumps(None if key == 'trained_betas' else False)}"
                )
        defaults = {  # diffusers' defaults for keys a file may leave out
            "num_train_timesteps": 1000,
            "prediction_type": "epsilon",
            "timestep_spacing": "leading",
            "steps_offset": 0,
            "set_alpha_to_one": name == "DDIMScheduler",
        }
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in (defaults | dict(config)).items() if key in known})

    def to_dict(self) -> dict[str, Any]:
        """The `scheduler_config.json` of a diffusers DDIMScheduler; `from_dict` reads it back equal."""
        off = {"clip_sample": False, "thresholding": False, "rescale_betas_zero_snr": False}
        return {"_class_name": "DDIMScheduler", **dataclasses.asdict(self), **off, "trained_betas": None}


@struct.dataclass
class NoiseSchedule:
    """The tables of a schedule; a pytree to pass into jitted programs as an argument."""

    alphas_cumprod: jax.Array  # float32 [num_train_timesteps]
    final_alpha_cumprod: jax.Array  # float32 []: the alpha "before" the first timestep
    config: ScheduleConfig = struct.field(pytree_node=False)

    @property
    def prediction_type(self) -> str:
        return self.config.prediction_type

    @classmethod
    def create(cls, config: ScheduleConfig) -> NoiseSchedule:
        """Computes the tables, equal to those of diffusers to the last bits of float32."""
        betas = _betas(config)
        # PyTorch's CPU cumprod accumulates float32 inputs in float64 and rounds each output.
        alphas = np.cumprod((np.float32(1) - betas).astype(np.float64)).astype(np.float32)
        final = np.float32(1) if config.set_alpha_to_one else alphas[0]
        return cls(alphas_cumprod=jnp.asarray(alphas), final_alpha_cumprod=jnp.asarray(final), config=config)


def timesteps(config: ScheduleConfig, steps: int) -> np.ndarray:
    """The timesteps of a DDIM run, int32 [steps], noisiest first, spaced as diffusers' DDIMScheduler does.

    Raises ValueError when `steps` does not fit the schedule.
    """
    total = config.num_train_timesteps
    check_steps(config, steps)
    if config.timestep_spacing == "leading":
        timesteps = np.arange(steps)[::-1] * (total // steps) + config.steps_offset
    elif config.timestep_spacing == "trailing":
        timesteps = np.round(total - np.arange(steps) * (total / steps)) - 1
    else:
        timesteps = np.round(np.linspace(0, total - 1, steps))[::-1]
    return check_timesteps(config, timesteps)


def check_timesteps(config: ScheduleConfig, timesteps: np.ndarray) -> np.ndarray:
    """`timesteps` as int32. Raises ValueError unless it falls strictly and stays inside the schedule."""
    timesteps, last = timesteps.astype(np.int32), config.num_train_timesteps - 1
    if timesteps[0] > last or timesteps[-1] < 0 or np.any(np.diff(timesteps) >= 0):
        raise ValueError(
            f"steps is {len(timesteps)}, which with steps_offset {config.steps_offset} runs from {timesteps[0]} "
            f"to {timesteps[-1]}; they must fall within {last} to 0 without repeats: use fewer steps"
        )
    return timesteps


def check_steps(config: ScheduleConfig, steps: int) -> None:
    """Raises ValueError unless `steps` is a whole number of 1 to `num_train_timesteps`."""
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer):
        raise ValueError(f"steps is {steps!r}; use a whole number")
    if not 1 <= steps <= config.num_train_timesteps:
        raise ValueError(f"steps is {steps}; use 1 to {config.num_train_timesteps}")


def add_noise(schedule: NoiseSchedule, latents: jax.Array, noise: jax.Array, timesteps: jax.Array) -> jax.Array:
    """Noises clean `latents` [b, ...] to `timesteps` (int [b] or []); float32."""
    alpha = expand(schedule.alphas_cumprod[timesteps], latents)
    return jnp.sqrt(alpha) * latents + jnp.sqrt(1 - alpha) * noise


def velocity(schedule: NoiseSchedule, latents: jax.Array, noise: jax.Array, timesteps: jax.Array) -> jax.Array:
    """`v = sqrt(alpha) eps - sqrt(1 - alpha) x_0` (Salimans and Ho 2022, arXiv 2202.00512, appendix D)."""
    alpha = expand(schedule.alphas_cumprod[timesteps], latents)
    return jnp.sqrt(alpha) * noise - jnp.sqrt(1 - alpha) * latents


def snr(schedule: NoiseSchedule, timesteps: jax.Array) -> jax.Array:
    """Signal-to-noise ratio `alpha / (1 - alpha)`, same shape as `timesteps`."""
    alpha = schedule.alphas_cumprod[timesteps]
    return alpha / (1 - alpha)


def training_target(schedule: NoiseSchedule, latents: jax.Array, noise: jax.Array, timesteps: jax.Array) -> jax.Array:
    """Training target of the network for these clean latents and this noise: eps or v, by the schedule."""
    if schedule.prediction_type == "epsilon":
        return noise
    return velocity(schedule, latents, noise, timesteps)


def to_epsilon(output: jax.Array, latents: jax.Array, alpha: jax.Array, prediction_type: str) -> jax.Array:
    """The noise that a raw network `output` at noisy `latents` [b, ...] stands for; `alpha` is [] or [b]."""
    if prediction_type == "epsilon":
        return output
    alpha = expand(alpha, latents)
    return jnp.sqrt(alpha) * output + jnp.sqrt(1 - alpha) * latents


def to_clean(output: jax.Array, latents: jax.Array, alpha: jax.Array, prediction_type: str) -> jax.Array:
    """The clean latents that a raw `output` at noisy `latents` [b, ...] stands for; `alpha` is [] or [b]."""
    alpha = expand(alpha, latents)
    if prediction_type == "epsilon":
        return (latents - jnp.sqrt(1 - alpha) * output) / jnp.sqrt(alpha)
    return jnp.sqrt(alpha) * latents - jnp.sqrt(1 - alpha) * output


def expand(values: jax.Array, like: jax.Array) -> jax.Array:
    """`values` [] or [b] with trailing axes added, to multiply `like` [b, ...]."""
    values = jnp.asarray(values)
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim)) if values.ndim else values


def _betas(config: ScheduleConfig) -> np.ndarray:
    if config.beta_schedule == "linear":
        return _torch_linspace(config.beta_start, config.beta_end, config.num_train_timesteps)
    roots = _torch_linspace(config.beta_start**0.5, config.beta_end**0.5, config.num_train_timesteps)
    return roots * roots


def _torch_linspace(start: float, stop: float, count: int) -> np.ndarray:
    """float32 [count], rounded as `torch.linspace` does: counted up from the start, and down to the end."""
    start, stop = np.float32(start), np.float32(stop)
    step = (stop - start) / np.float32(count - 1)
    index = np.arange(count, dtype=np.float32)
    up, down = start + step * index, stop - step * (count - 1 - index)
    return np.where(index < count // 2, up, down).astype(np.float32)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} {value!r} is not supported; use one of {', '.join(allowed)}")
