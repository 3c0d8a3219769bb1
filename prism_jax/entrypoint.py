"""Entry point of all commands and programs: one-line errors with exit codes, signals, compilation cache, CPU cores.

Exit codes:
  0    success.
  1    numerical failure (NaN, or too many skipped batches), or a bug in the program, with a traceback.
  2    wrong usage or input; restarting does not fix it.
  75   SIGTERM stopped it and its state was saved (EX_TEMPFAIL of sysexits.h): the same command resumes.
  130  Ctrl-C stopped it; a training saved its state first.
Programs without state to save are ended by SIGTERM itself, which shells report as 143.
"""

import ctypes
import hashlib
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

TRACEBACK = "PRISM_TRACEBACK"  # set to 1 to see where an error was raised
CACHE = "JAX_COMPILATION_CACHE_DIR"
CPU_DEVICES = "JAX_NUM_CPU_DEVICES"
FAILED, WRONG_INPUT, STOPPED, INTERRUPTED = 1, 2, 75, 130
PATIENCE = 5  # seconds that a second signal leaves for an orderly end
EXTRAS = {
    "array_record": "data",
    "grain": "data",
    "pyarrow": "data",
    "pydicom": "data",
    "tensorflow_datasets": "data",
    "jinja2": "report",
    "plotly": "report",
    "tensorboardX": "report",
}
"""Packages that are not always installed -> the extra of prism-jax that installs them."""

_MALLOPT = {
    -8: 1,  # M_ARENA_MAX: the arenas of threads, in which XLA runs, hold blocks of up to 64 MB only
    -3: 2**30,  # M_MMAP_THRESHOLD: larger blocks come from the kernel still, where keeping them could waste much
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: free memory that is kept at the end of the heap
}
"""Options of glibc's mallopt (malloc.h) -> values, in bytes."""


class Stopped(Exception):
    """A signal stopped the program, which saved everything: the same command resumes it."""

    def __init__(self, message: str, number: int = signal.SIGTERM) -> None:
        super().__init__(message)
        self.code = INTERRUPTED if number == signal.SIGINT else STOPPED


def run(program: Callable[[list[str]], int | None], args: Sequence[str] | None = None) -> int:
    """Runs `program(args)`, by default with the arguments of the process, which it prepares; returns the exit code."""
    if args is None:
        args = sys.argv[1:]
        enable_compilation_cache()
        use_cpu_well()
        acknowledge_signals()
    return exit_code(partial(program, list(args)))


def exit_code(program: Callable[[], int | None]) -> int:
    """Runs `program` and returns its exit code, as listed above.

    Prints one line on stderr for each error that has a code. Any other exception is a defect and passes with its
    traceback; so does every exception where the environment has PRISM_TRACEBACK=1.
    """
    if os.environ.get(TRACEBACK) == "1":
        return program() or 0
    try:
        return program() or 0
    except SystemExit as stop:  # raised by the option parser, after it printed its message or help
        return int(stop.code or 0)
    except Stopped as stopped:
        return _say(str(stopped), stopped.code)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the program that reads our output, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        return _say(f"error: {error}", WRONG_INPUT)
    except FloatingPointError as error:
        return _say(f"error: {error}", FAILED)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        return _say(f"error: the package {package} is missing: pip install 'prism-jax[{EXTRAS[package]}]'", WRONG_INPUT)


def _say(text: str, code: int) -> int:
    print(" ".join(text.split()), file=sys.stderr)
    return code


def enable_compilation_cache() -> None:
    """Makes JAX keep compiled programs in the user's cache folder, unless JAX_COMPILATION_CACHE_DIR is set.

    An empty JAX_COMPILATION_CACHE_DIR turns it off. JAX reads the variable when it is imported.
    """
    if CACHE in os.environ:
        return
    # One folder per CPU model: machines may share a home folder, and compiled programs use CPU-specific instructions.
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else [platform.processor()]
    flags = [line for line in lines if line.startswith(("flags", "Features"))][:1] or lines[:1]
    kind = hashlib.blake2b("".join([platform.machine(), *flags]).encode(), digest_size=6).hexdigest()
    os.environ[CACHE] = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prism_jax" / kind)
    if (jax := sys.modules.get("jax")) and not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", os.environ[CACHE])


def use_cpu_well() -> None:
    """What makes computing on a CPU fast, before JAX starts: `use_all_cores` and `keep_freed_memory`."""
    use_all_cores()
    keep_freed_memory()


def use_all_cores() -> None:
    """Makes every CPU core a device of JAX, unless JAX_NUM_CPU_DEVICES or XLA_FLAGS say how many there are.

    Batches are then sharded over the cores. One device leaves cores idle for much of a backward pass: it divides
    single operations among them, and only large ones.
    """
    if CPU_DEVICES in os.environ or "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    os.environ[CPU_DEVICES] = str(cores())
    if jax := sys.modules.get("jax"):
        jax.config.update("jax_num_cpu_devices", cores())


def cores() -> int:
    """CPU cores that this process may use: those of its affinity, within the quota of its container (cgroup v2)."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = Path("/sys/fs/cgroup/cpu.max")
    quota, period = limit.read_text().split() if limit.is_file() else ("max", "1")
    return available if quota == "max" else max(1, min(available, int(quota) // int(period)))


def keep_freed_memory() -> None:
    """Makes the C library keep what XLA frees on a CPU for the next run of a program, unless the environment sets
    GLIBC_TUNABLES or MALLOC_*.

    XLA allocates the temporary arrays of a program anew for every run. By default glibc gets blocks this large from
    the kernel and gives them back each time: the page faults are a quarter of a training step of the shipped model.
    Without glibc nothing changes.
    """
    if not may_tune_malloc():
        return
    libc = ctypes.CDLL(None)
    for option, value in _MALLOPT.items():
        libc.mallopt(option, value)


def may_tune_malloc() -> bool:
    """True with glibc, unless the environment tunes its malloc."""
    is_tuned = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    return platform.libc_ver()[0] == "glibc" and not is_tuned


def acknowledge_signals() -> None:
    """Reports a signal as soon as it comes: Python's own handlers wait for the compiler, which may take a minute.

    A second signal ends the process within seconds, whatever it does.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_acknowledge, args=(reader,), daemon=True).start()


def _acknowledge(reader: int) -> None:
    stops = (signal.SIGINT, signal.SIGTERM)
    number = lambda: next(byte for byte in iter(lambda: os.read(reader, 1)[0], None) if byte in stops)
    number()
    print("\nstopping as soon as the work at hand allows; Ctrl-C again stops at once", file=sys.stderr, flush=True)
    again = number()
    time.sleep(PATIENCE)
    os._exit(128 + again)
