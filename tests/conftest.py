"""Set-up that every test shares: eight virtual CPU devices, strict numerics, and the way to reference data."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

# Read when JAX is imported, so they are set before anything imports it. Networks of tests are small: compiling well
# would take longer than running, and what was compiled is kept for the other workers and the next run. Releases of
# jaxlib after 0.10 do not know the last flag, and would end here.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).resolve().parents[1] / ".cache" / "compiled")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else "",
    )
)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file
from tokenizers.pre_tokenizers import ByteLevel

from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.metrics.clip import ClipScorer
from prism_jax.models.autoencoder import AutoencoderConfig, AutoencoderKL
from prism_jax.models.clip import CLIP, CLIPConfig
from prism_jax.models.text_encoder import CLIPTextModel, TextConfig
from prism_jax.models.unet import UNet2DCondition, UNetConfig
from prism_jax.stable_diffusion import StableDiffusion, load_tokenizer
from prism_jax.weights import pretrained

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "float32")

# Reference numbers and real data lie beside the checkout; they are never part of it.
SHARED = Path(__file__).resolve().parents[2] / "shared"

requires_time = pytest.mark.skipif("PRISM_SLOW" not in os.environ, reason="takes a minute or more; make slow runs it")
requires_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"reference data not found at {SHARED}")


def shipped_configs(pattern: str) -> list[Path]:
    """The shipped configurations whose file name matches, for example "predictors*", of all data sets."""
    folder = Path(__file__).resolve().parents[1] / "prism_jax" / "configs"
    paths = sorted(folder.glob(f"*/{pattern}.py"))
    assert paths, f"no configuration in {folder} is called {pattern}.py"
    return paths


def config_name(path: Path) -> str:
    """A shipped configuration by data set and program, for example "demo/finetune"."""
    return f"{path.parent.name}/{path.stem}"


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
    return Trace(load_file(arrays) if arrays.exists() else {}, json.loads(meta.read_text()) if meta.exists() else {})


def shared_folder(*parts: str) -> Path:
    """A folder or file of the shared data, for example ("reference", "models", "sd15_tiny"); skips where absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared data not found at {path}")
    return path


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs_go_with_their_file() -> Iterator[None]:
    """Frees what a file compiled: kept for the whole session, the programs of all files fill gigabytes."""
    yield
    jax.clear_caches()


@pytest.fixture
def compiled_well() -> Iterator[None]:
    """For what runs longer than it compiles, or is held to rounding."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True)
def _what_runs_long_is_compiled_well(request) -> None:
    """Many steps of the reference's models, on 512 pixels."""
    if "sd15" in request.fixturenames and request.node.get_closest_marker("slow"):
        request.getfixturevalue("compiled_well")


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference models and traces."""
    return shared_folder("reference")


def untrained(network: type, config: Any) -> nnx.Module:
    """A network with random parameters. Drawn with NumPy: JAX would compile a program for every shape."""
    graphdef, state = nnx.split(pretrained.abstract(network, config))
    draw = np.random.default_rng(0)
    filled = []
    for path, leaf in nnx.to_flat_state(state):
        fan_in = np.prod(leaf.shape[:-1]) if path[-1] == "kernel" else 100
        value = draw.normal(size=leaf.shape) / np.sqrt(fan_in) + (path[-1] == "scale")
        filled.append((path, leaf.replace(jnp.asarray(value, jnp.float32))))
    return nnx.merge(graphdef, nnx.from_flat_state(filled))


@pytest.fixture(scope="session")
def sd15(reference) -> StableDiffusion:
    """The reference's small model of SD 1.5's topology."""
    return StableDiffusion.from_pretrained(reference / "models" / "sd15_tiny")


@pytest.fixture(scope="session")
def sd21_unet(reference) -> UNet2DCondition:
    """The reference's small UNet of SD 2.1's topology."""
    return pretrained.load_unet(reference / "models" / "sd21_tiny" / "unet")


def channels_last(array: np.ndarray) -> jax.Array:
    """`[..., c, h, w]` as stored by the reference -> `[..., h, w, c]`."""
    return jnp.asarray(np.moveaxis(array, -3, -1))


def relative_distance(actual: jax.Array, expected: jax.Array) -> float:
    """Length (L2) of the difference, in lengths of `expected`."""
    return float(jnp.linalg.norm(jnp.ravel(actual - expected)) / jnp.linalg.norm(jnp.ravel(expected)))


def recorded(monkeypatch: pytest.MonkeyPatch, *kinds: type) -> dict[int, Any]:
    """What modules of these kinds return from now on, by the module's id; read it in the function that is traced."""
    outputs = {}

    def record(kind: type) -> None:
        original = kind.__call__

        def call(self, *args, **options):
            outputs[id(self)] = original(self, *args, **options)
            return outputs[id(self)]

        monkeypatch.setattr(kind, "__call__", call)

    for kind in kinds:
        record(kind)
    return outputs


WORDS = "chest ray year old man woman view with no cardiomegaly effusion pacemaker support lines".split()


@contextlib.contextmanager
def compiled_once(*places: tuple[Any, str]) -> Iterator[list]:
    """What these functions (module, name) first return is returned by every later call too; the list of it."""
    made = []

    def once(place, make):
        def given(*args):
            if len(made) == place:
                made.append(make(*args))
            return made[place]

        return given

    with pytest.MonkeyPatch.context() as patch:
        for place, (module, name) in enumerate(places):
            patch.setattr(module, name, once(place, getattr(module, name)))
        yield made


def spelling(word: str) -> list[tuple[str, str]]:
    """The merges that build `word` from its first letter on."""
    pieces = [*word[:-1], f"{word[-1]}</w>"]
    return [("".join(pieces[:i]), pieces[i]) for i in range(1, len(pieces))]


# Editing and its programs do not depend on how many levels the UNet has, and compiling takes most of their tests' time.
ONE_LEVEL = dict(block_out_channels=(8,), cross_attention=(True,), num_heads=(2,))


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory) -> StableDiffusion:
    """An untrained Stable Diffusion of the least size; its tokens are bytes and the words of phantom captions."""
    folder = tmp_path_factory.mktemp("tokens")
    letters = sorted(ByteLevel.alphabet())
    merges = [pair for word in WORDS for pair in spelling(word)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *dict.fromkeys(a + b for a, b in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    lines = dict.fromkeys(f"{a} {b}" for a, b in merges)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})
    )
    return StableDiffusion(
        unet=untrained(UNet2DCondition, dataclasses.replace(UNetConfig.tiny(), **ONE_LEVEL, sample_size=4)),
        vae=untrained(AutoencoderKL, AutoencoderConfig.tiny()),
        text_encoder=untrained(CLIPTextModel, TextConfig.tiny(len(tokens))),
        tokenizer=load_tokenizer(folder),
        schedule=NoiseSchedule.create(ScheduleConfig()),
    )


@pytest.fixture(scope="session")
def two_level_sd(tiny_sd) -> StableDiffusion:
    """The same with a UNet that halves its latents' sides."""
    return dataclasses.replace(tiny_sd, unet=untrained(UNet2DCondition, UNetConfig.tiny()))


@pytest.fixture(scope="session")
def scorer(tiny_sd) -> ClipScorer:
    """An untrained CLIP of the least size, 32 pixels wide."""
    config = CLIPConfig.tiny(len(tiny_sd.tokenizer))
    return ClipScorer(clip=untrained(CLIP, config), tokenizer=tiny_sd.tokenizer)


# A minute or more each, so they start first: the last file would otherwise keep one worker busy while the others wait.
LONGEST = (
    "test_finetune",
    "test_scaling",
    "test_edit",
    "test_inversion",
    "test_counterfactuals",
    "test_null_text",
    "test_unet",
    "test_stable_diffusion",
    "test_negative_prompt",
)


def pytest_configure() -> None:
    """Divides the cores among pytest's workers: their threads would otherwise wait for those of the others."""
    worker, count = (os.environ.get(f"PYTEST_XDIST_WORKER{name}") for name in ("", "_COUNT"))
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) :: int(count)] or cores)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; skips tests marked `shared` where the data is missing, `slow` unless asked for."""
    items.sort(key=lambda item: (*LONGEST, item.path.stem).index(item.path.stem))
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(requires_shared)
        if item.get_closest_marker("slow"):
            item.add_marker(requires_time)
