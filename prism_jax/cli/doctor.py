"""`prism doctor`: checks devices, processes, packages, memory and caches, and says how to fix what is wrong."""

import dataclasses
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
from packaging.requirements import Requirement

from prism_jax import entrypoint
from prism_jax.cli import attention_paths, cluster
from prism_jax.cli.attention_paths import Networks
from prism_jax.pretrained import folder as model_folder
from prism_jax.report.versions import version_of

PACKAGE = "prism-jax"
EXTRAS = {
    "data": "builds and reads data sets, and trains",
    "report": "writes HTML reports",
    "parity": "compares with PyTorch diffusers, for developers",
}
NO_DEVICE = "JAX starts no device"
MEMORY_FLOOR = 8 * 2**30  # bytes; the float32 weights of SD 1.5 alone take 4 GiB
DISK_FLOOR = 15 * 2**30  # bytes; a checkpoint of SD 1.5 (parameters, average, two Adam moments) takes 13 GiB


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Checks devices, processes, versions and caches, and says how to fix what is wrong."""

    model: Path | None = None
    """Diffusers folder whose attention layers are checked; by default those of SD 1.5."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Compute precision for which the attention layers are checked."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one check: `wrong` stops programs from working, `note` only makes them slower or smaller."""

    state: Literal["ok", "note", "wrong"]
    text: str
    remedy: str = ""


def run(options: Options) -> int:
    """Prints all findings; returns the exit code, 1 if something is wrong."""
    networks = Networks() if options.model is None else Networks.of(model_folder(options.model))
    print(f"Python {platform.python_version()}, {platform.platform()}")
    findings = [*packages(), *devices()]
    if not any(finding.text.startswith(NO_DEVICE) for finding in findings):
        findings += [*processes(), *attention_layers(networks, jnp.dtype(options.dtype))]
    findings += [*memory(), *allocator(), *disk(), *compilation_cache()]
    for finding in findings:
        print(f"{finding.state:<6}{finding.text}")
        if finding.remedy:
            print(f"{'':<6}-> {finding.remedy}")
    wrong = sum(finding.state == "wrong" for finding in findings)
    print(f"{wrong} wrong, {sum(finding.state == 'note' for finding in findings)} to note")
    return 1 if wrong else 0


def packages() -> Iterator[Finding]:
    """Installed versions of the required packages compared with the requirements: the core, then each extra."""
    if (version := version_of(PACKAGE)) is None:
        yield Finding(state="wrong", text=f"{PACKAGE} is not installed", remedy="pip install -e . in its checkout")
        return
    yield Finding(state="ok", text=f"{PACKAGE} {version}")
    core, extras = _requirements()
    have, lacking = _compare(core)
    yield _noted(f"core: {', '.join(lacking or have)}", bool(lacking), f"pip install --upgrade {PACKAGE}", "wrong")
    for extra, purpose in EXTRAS.items():
        have, lacking = _compare(extras[extra])
        text = f"extra {extra} ({purpose}): {', '.join(lacking or have)}"
        yield _noted(text, bool(lacking), f"pip install '{PACKAGE}[{extra}]'")


def _requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """Declared requirements: those of the core, and those that each extra adds."""
    needs = [Requirement(line) for line in importlib.metadata.requires(PACKAGE) or ()]
    core = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    rest = [need for need in needs if need not in core]
    return core, {extra: [need for need in rest if need.marker.evaluate({"extra": extra})] for extra in EXTRAS}


def _compare(needs: Iterable[Requirement]) -> tuple[list[str], list[str]]:
    """Installed packages as "name version", and a text for each one that is missing or too old."""
    have, lacking = [], []
    for need in needs:
        if (version := version_of(need.name)) is None:
            lacking.append(f"{need.name} is missing")
        elif need.specifier.contains(version, prereleases=True):
            have.append(f"{need.name} {version}")
        else:
            lacking.append(f"{need.name} {version} is not {need.specifier}")
    return have, lacking


def devices() -> Iterator[Finding]:
    """Devices visible to JAX, a test computation on each, and a warning about a GPU that JAX does not see."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    try:
        available = jax.devices()
    except RuntimeError as error:
        remedy = f"unset JAX_PLATFORMS (now {asked!r})" if asked else f"pip install --upgrade '{PACKAGE}[cuda12]'"
        yield Finding(state="wrong", text=f"{NO_DEVICE}: {' '.join(str(error).split())}", remedy=remedy)
        return
    findings = [_device(device) for device in available]
    if jax.default_backend() == "cpu" and all(finding.state == "ok" for finding in findings):
        text = f"devices: {len(available)} CPU cores, which share batches; JAX_NUM_CPU_DEVICES sets how many"
        yield Finding(state="ok", text=text)
    else:
        yield from findings
    if jax.default_backend() == "cpu" and (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()):
        remedy = f"unset JAX_PLATFORMS (now {asked!r})" if asked else f"pip install '{PACKAGE}[cuda12]'"
        yield Finding(state="wrong", text="this machine has an NVIDIA GPU that JAX does not see", remedy=remedy)


def _device(device: jax.Device) -> Finding:
    text = f"device {device.id}: {device.device_kind} ({device.platform})"
    limit = (device.memory_stats() or {}).get("bytes_limit")
    text += f", {_gib(limit)} for JAX" if limit else ""
    capability = getattr(device, "compute_capability", None)
    text += f", compute capability {capability}" if capability else ""
    try:
        ones = jax.device_put(jnp.ones((128, 128)), device)
        total = float(jnp.sum(ones @ ones))
    except RuntimeError as error:
        remedy = "free the device (another process may hold its memory) or repair its driver"
        return Finding(state="wrong", text=f"{text} does not compute: {' '.join(str(error).split())}", remedy=remedy)
    if total != 128.0**3:
        remedy = "take this device out of use: it computes wrongly"
        return Finding(state="wrong", text=f"{text} computes 128^3 = {total}", remedy=remedy)
    return Finding(state="ok", text=text)


def processes() -> Iterator[Finding]:
    """Index and count of processes, local devices, and the detected cluster. Does not join the cluster's job."""
    local, index, count = jax.local_devices(), jax.process_index(), jax.process_count()
    ids = ", ".join(str(device.local_hardware_id) for device in local)
    text = f"process {index} of {count}: {len(local)} of {len(jax.devices())} devices (local numbers {ids})"
    yield Finding(state="ok", text=text)
    detected = cluster.detect(os.environ)
    if detected is None:
        yield Finding(state="ok", text="cluster: none; for several processes give --processes.count and --index")
        return
    yield _noted(f"cluster: {detected.text}", bool(detected.remedy), detected.remedy)
    if names := cluster.proxies(os.environ):
        remedy = "unset them where processes of other nodes do not meet"
        yield Finding(state="note", text=f"cluster: {', '.join(names)} may keep processes apart", remedy=remedy)


def attention_layers(networks: Networks, dtype: jnp.dtype) -> Iterator[Finding]:
    """Kernel of every attention layer, and a note if another precision would be faster."""
    is_slowed = False
    for layer in attention_paths.layers(networks):
        path, reason = attention_paths.path(layer, dtype)
        text = f"attention in {dtype.name}, {layer.name}: {layer.queries} queries, {layer.keys} keys, "
        text += f"{layer.heads} heads of {layer.width}: {path}" + (f" ({reason})" if reason else "")
        yield Finding(state="ok", text=text)
        is_slowed |= path != attention_paths.path(layer, jnp.dtype(jnp.bfloat16))[0]
    if is_slowed:
        text = f"attention in {dtype.name} leaves cuDNN's kernels unused"
        yield Finding(state="note", text=text, remedy="compute in bfloat16: --dtype bfloat16")


def memory() -> Iterator[Finding]:
    """The machine's memory, on Linux."""
    if sys.platform != "linux":
        return
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    text = f"memory: {_gib(total)}, {_gib(free)} unused, {os.cpu_count()} processors"
    yield _noted(text, total < MEMORY_FLOOR, f"use a machine with {_gib(MEMORY_FLOOR)} or keep to small models")


def allocator() -> Iterator[Finding]:
    """Whether programs reuse the memory that XLA frees on CPUs."""
    kept = "is kept for the next step" if entrypoint.may_tune_malloc() else "goes back to the system, as malloc decides"
    yield Finding(state="ok", text=f"memory that XLA frees on CPUs: {kept} (MALLOC_ARENA_MAX and others change that)")


def disk() -> Iterator[Finding]:
    """Free disk space in the folder where runs are written by default."""
    free = shutil.disk_usage(Path.cwd()).free
    text = f"disk: {_gib(free)} free in {Path.cwd()}"
    yield _noted(text, free < DISK_FLOOR, "checkpoints of a full-size model need more: free some disk")


def compilation_cache() -> Iterator[Finding]:
    """Folder of the compilation cache."""
    folder = jax.config.jax_compilation_cache_dir
    if not folder:
        remedy = "unset JAX_COMPILATION_CACHE_DIR, or set it to a folder, to compile each program once"
        yield Finding(state="note", text="compilation cache: off, every start compiles again", remedy=remedy)
    elif "://" in folder:
        yield Finding(state="ok", text=f"compilation cache: {folder}")
    elif Path(folder).is_dir() and not os.access(folder, os.W_OK):
        remedy = "make it writable or set JAX_COMPILATION_CACHE_DIR to another folder"
        yield Finding(state="wrong", text=f"compilation cache: {folder} cannot be written", remedy=remedy)
    else:
        files = [path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()]
        yield Finding(state="ok", text=f"compilation cache: {folder}, {len(files)} programs, {_gib(sum(files))}")


def _noted(text: str, is_noted: bool, remedy: str, state: Literal["note", "wrong"] = "note") -> Finding:
    return Finding(state=state, text=text, remedy=remedy) if is_noted else Finding(state="ok", text=text)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
