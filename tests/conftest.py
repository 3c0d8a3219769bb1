"""Set-up that every test shares: eight virtual CPU devices, strict numerics, and the way to reference data."""

import json
import os
from pathlib import Path
from typing import NamedTuple

# Read when JAX is imported, so they are set before anything imports it.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
)

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "float32")

# Reference numbers and real data lie beside the checkout; they are never part of it.
SHARED = Path(__file__).resolve().parents[2] / "shared"

requires_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"reference data not found at {SHARED}")


class Trace(NamedTuple):
    """One reference computation: `arrays` by name (PyTorch layouts, as stored) and `meta`, its scalars and strings."""

    arrays: dict[str, np.ndarray]
    meta: dict


def load_trace(stem: str) -> Trace:
    """Reads the reference trace `stem`, for example "04_unet_sd15"; skips the test where there is no reference data."""
    folder = SHARED / "reference" / "traces"
    if not folder.is_dir():
        pytest.skip(f"reference traces not found at {folder}")
    arrays, meta = folder / f"{stem}.safetensors", folder / f"{stem}.json"
    if not arrays.exists() and not meta.exists():
        raise FileNotFoundError(f"no reference trace {stem!r} in {folder}")
    return Trace(
        load_file(arrays) if arrays.exists() else {}, json.loads(meta.read_text()) if meta.exists() else {}
    )


def shared_folder(*parts: str) -> Path:
    """A folder or file of the shared data, for example ("reference", "models", "sd15_tiny"); skips where absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared data not found at {path}")
    return path


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference models and traces."""
    return shared_folder("reference")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests marked `shared` where the data is missing."""
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(requires_shared)
