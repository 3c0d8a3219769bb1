"""Software and hardware of a result: package versions, interpreter, platform, devices."""

import importlib.metadata
import platform
from collections import Counter

import jax

PACKAGES = (
    "prism-jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "transformers",
    "safetensors",
    "numpy",
)


def version_of(package: str) -> str | None:
    """Installed version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Name -> version of every installed dependency, then python, platform and devices."""
    installed = {name: version for name in PACKAGES if (version := version_of(name))}
    kinds = Counter(device.device_kind for device in jax.devices())
    devices = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    return installed | {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "devices": f"{devices} ({jax.default_backend()})",
    }
