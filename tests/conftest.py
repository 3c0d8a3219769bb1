"""Set-up of all tests: CPU devices (eight where tests/sharded is run, else one), strict numerics, small models."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Read when JAX is imported, so they are set before anything imports it. Networks of tests are small: compiling well
# would take longer than running, and what was compiled is kept for the other workers and the next run. Releases of
# jaxlib after 0.10 do not know the last flag, and would end here.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".cache" / "compiled"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else "",
    )
)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tokenizers.pre_tokenizers import ByteLevel

from prism_jax.diffusion.schedule import NoiseSchedule, ScheduleConfig
from prism_jax.metrics.clip import ClipScorer
from prism_jax.models.autoencoder import AutoencoderKL
from prism_jax.models.clip import CLIP
from prism_jax.models.text_encoder import CLIPTextModel
from prism_jax.models.unet import UNet2DCondition
from prism_jax.stable_diffusion import StableDiffusion, load_tokenizer
from prism_jax.weights import diffusers, pretrained
from tests import tiny_configs

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "float32")

MAX_RESIDENT = 4 << 30  # bytes of a worker, above which its compiled programs are freed


def shipped_configs(pattern: str) -> list[Path]:
    """The shipped configurations whose file name matches, for example "predictors*", of all data sets."""
    folder = Path(__file__).resolve().parents[1] / "prism_jax" / "configs"
    paths = sorted(folder.glob(f"*/{pattern}.py"))
    assert paths, f"no configuration in {folder} is called {pattern}.py"
    return paths


def config_name(path: Path) -> str:
    """A shipped configuration by data set and program, for example "demo/finetune"."""
    return f"{path.parent.name}/{path.stem}"


@pytest.fixture(scope="module", autouse=True)
def _compiled_programs_are_freed() -> Iterator[None]:
    """Frees compiled programs after a file that leaves the process large; other files reuse them."""
    yield
    statm = Path("/proc/self/statm")
    resident = int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.is_file() else MAX_RESIDENT
    if resident >= MAX_RESIDENT:
        jax.clear_caches()


@pytest.fixture
def compiled_well() -> Iterator[None]:
    """For what runs longer than it compiles, or is held to rounding."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


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


def manifest(abstract: nnx.Module, names: Iterable[tuple[str, str]]) -> dict[str, tuple[int, ...]]:
    """Name and shape, as diffusers would write them, of every parameter of a network without values."""
    flat = nnx.to_flat_state(nnx.state(abstract))
    return {
        diffusers.foreign_name(path, names): diffusers.to_foreign(
            path, np.broadcast_to(np.float32(0), leaf.shape)
        ).shape
        for path, leaf in flat
    }


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
        unet=untrained(UNet2DCondition, dataclasses.replace(tiny_configs.unet(), **ONE_LEVEL, sample_size=4)),
        vae=untrained(AutoencoderKL, tiny_configs.autoencoder()),
        text_encoder=untrained(CLIPTextModel, tiny_configs.text_encoder(len(tokens))),
        tokenizer=load_tokenizer(folder),
        schedule=NoiseSchedule.create(ScheduleConfig()),
    )


@pytest.fixture(scope="session")
def two_level_sd(tiny_sd) -> StableDiffusion:
    """The same with a UNet that halves its latents' sides."""
    return dataclasses.replace(tiny_sd, unet=untrained(UNet2DCondition, tiny_configs.unet()))


@pytest.fixture(scope="session")
def scorer(tiny_sd) -> ClipScorer:
    """An untrained CLIP of the least size, 32 pixels wide."""
    config = tiny_configs.clip(len(tiny_sd.tokenizer))
    return ClipScorer(clip=untrained(CLIP, config), tokenizer=tiny_sd.tokenizer)


# Longest first: the last file would otherwise keep one worker busy while the others wait.
LONGEST = (
    "test_finetune",
    "test_processes",
    "test_scaling",
    "test_edit",
    "test_inversion",
    "test_counterfactuals",
    "test_null_text",
    "test_unet",
    "test_stable_diffusion",
)
# Seconds that one test may take, fixtures included, on a machine four times slower than ours.
TIMEOUTS = {"unit": 60, "jit": 180, "reference": 300, "sharded": 300, "programs": 300}
NIGHTLY_TIMEOUT = 3600


def pytest_configure(config: pytest.Config) -> None:
    """Sets the number of CPU devices, and divides the cores among pytest's workers so that none waits for another."""
    sharded = Path(__file__).resolve().parent / "sharded"
    selected = [Path(config.invocation_params.dir, str(arg).partition("::")[0]).resolve() for arg in config.args]
    if any(path.is_relative_to(sharded) or sharded.is_relative_to(path) for path in selected):
        jax.config.update("jax_num_cpu_devices", 8)
        os.environ["JAX_NUM_CPU_DEVICES"] = "8"  # of programs that tests start
    worker, count = (os.environ.get(f"PYTEST_XDIST_WORKER{name}") for name in ("", "_COUNT"))
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) :: int(count)] or cores)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first, and gives every test the time limit of its folder."""
    items.sort(key=lambda item: (*LONGEST, item.path.stem).index(item.path.stem))
    for item in items:
        if item.path.parent.name not in TIMEOUTS:
            raise pytest.UsageError(f"{item.path} lies in none of tests/{', tests/'.join(TIMEOUTS)}")
        limit = NIGHTLY_TIMEOUT if item.get_closest_marker("nightly") else TIMEOUTS[item.path.parent.name]
        item.add_marker(pytest.mark.timeout(limit))
