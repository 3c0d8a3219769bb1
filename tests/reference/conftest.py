"""Reference traces and real data, which lie beside the checkout and are never part of it."""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file

from prism_jax.models.unet import UNet2DCondition
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.weights import pretrained

SHARED = Path(os.environ.get("PRISM_SHARED") or Path(__file__).resolve().parents[3] / "shared")


class Trace(NamedTuple):
    """One reference computation: `arrays` by name (PyTorch layouts, as stored) and `meta`, its scalars and strings."""

    arrays: dict[str, np.ndarray]
    meta: dict


def shared_folder(*parts: str) -> Path:
    """A folder or file of the shared data, for example ("reference", "models", "sd15_tiny").

    Skips the test where there is no shared data at all; raises FileNotFoundError where only this part is missing.
    """
    if not (SHARED / "reference").is_dir():
        pytest.skip(f"no reference data at {SHARED}; set PRISM_SHARED to the folder that holds reference/ and data/")
    path = SHARED.joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(f"the shared data lacks {path}")
    return path


def load_trace(stem: str) -> Trace:
    """Reads the reference trace `stem`, for example "04_unet_sd15"; skips the test where there is no shared data."""
    folder = shared_folder("reference", "traces")
    arrays, meta = folder / f"{stem}.safetensors", folder / f"{stem}.json"
    if not arrays.exists() and not meta.exists():
        raise FileNotFoundError(f"no reference trace {stem!r} in {folder}")
    return Trace(load_file(arrays) if arrays.exists() else {}, json.loads(meta.read_text()) if meta.exists() else {})


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference models and traces."""
    return shared_folder("reference")


@pytest.fixture(scope="session")
def sd15(reference) -> StableDiffusion:
    """The reference's small model of SD 1.5's topology."""
    return StableDiffusion.from_pretrained(reference / "models" / "sd15_tiny")


@pytest.fixture(scope="session")
def sd21_unet(reference) -> UNet2DCondition:
    """The reference's small UNet of SD 2.1's topology."""
    return pretrained.load(UNet2DCondition, reference / "models" / "sd21_tiny" / "unet")


@pytest.fixture(autouse=True)
def _nightly_models_are_optimised(request) -> None:
    """Many steps of the reference's models on 512 pixels run longer than they compile."""
    if "sd15" in request.fixturenames and request.node.get_closest_marker("nightly"):
        request.getfixturevalue("compiled_well")
