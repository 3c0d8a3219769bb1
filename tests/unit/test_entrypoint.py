"""Exit codes, signals and the compilation cache of every program."""

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from prism_jax import entrypoint


@pytest.fixture
def cache_off():
    """Compilation caching as the tests have it, put back afterwards."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_compiled_programs_are_kept_in_the_users_cache(cache_off, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")  # so that it is put back
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    entrypoint.enable_compilation_cache()
    assert Path(jax.config.jax_compilation_cache_dir).parent == tmp_path / "prism_jax"


@pytest.mark.parametrize("folder", ["", "/elsewhere"])
def test_what_the_environment_says_about_the_cache_stands(folder, cache_off, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
    entrypoint.enable_compilation_cache()
    assert jax.config.jax_compilation_cache_dir is None  # as JAX read it when it was imported


@pytest.mark.parametrize(
    ("environment", "devices"),
    [
        ({}, entrypoint.cores()),
        ({"JAX_NUM_CPU_DEVICES": "3"}, 3),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=5"}, 5),
    ],
)
@pytest.mark.parametrize("first", ["import jax", ""])
def test_every_core_is_a_device_unless_the_environment_says_otherwise(environment, devices, first):
    script = (
        f"{first}\nfrom prism_jax import entrypoint\nentrypoint.use_all_cores()\nimport jax\nprint(jax.device_count())"
    )
    clean = {name: value for name, value in os.environ.items() if name not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    found = subprocess.run([sys.executable, "-c", script], env=clean | environment, capture_output=True, text=True)
    assert found.stdout == f"{devices}\n", found.stderr


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (None, 0, ""),
        (ValueError("size 3\nis odd"), 2, "error: size 3 is odd\n"),
        (FileNotFoundError("no x"), 2, "error: no x\n"),
        (FloatingPointError("NaN"), 1, "error: NaN\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (entrypoint.Stopped("saved"), 75, "saved\n"),
        (entrypoint.Stopped("saved", signal.SIGINT), 130, "saved\n"),
        (SystemExit(2), 2, ""),
        (ModuleNotFoundError("no", name="plotly.graph"), 2, "error: the package plotly is missing: "),
    ],
)
def test_every_end_of_a_program_has_its_code_and_at_most_one_line(error, code, said, capsys):
    def program() -> None:
        if error is not None:
            raise error

    assert entrypoint.exit_code(program) == code
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("error", [ZeroDivisionError(), ModuleNotFoundError("no", name="prism_jax.missing")])
def test_a_defect_keeps_its_traceback(error):
    def program() -> None:
        raise error

    with pytest.raises(type(error)):
        entrypoint.exit_code(program)


BUSY = """
import sys, time
from prism_jax import entrypoint

def program(args):
    while True:  # as a compiler that does not return to Python for a while
        try:
            print("started", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(float(args[0]))
            raise

sys.exit(entrypoint.run(program))
"""


@pytest.mark.parametrize(("busy", "signals"), [("2", 1), ("60", 2)])
def test_ctrl_c_is_acknowledged_at_once_and_ends_with_130(busy, signals):
    code = BUSY.replace("def program", "entrypoint.PATIENCE = 0.1\n\ndef program")
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen([sys.executable, "-c", code, busy], **pipes) as process:
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.readline() == "\n"
        assert "stopping as soon as" in process.stderr.readline()
        if signals == 2:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130


REUSE = """
import ctypes, resource, sys, threading
from prism_jax import entrypoint

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.memset.argtypes, libc.free.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]

def use():
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        block = libc.malloc(100_000_000)
        libc.memset(block, 1, 100_000_000)
        libc.free(block)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

entrypoint.keep_freed_memory()
thread = threading.Thread(target=use)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tunes glibc")
@pytest.mark.parametrize(("variable", "is_kept"), [({}, True), ({"MALLOC_ARENA_MAX": "4"}, False)])
def test_memory_that_a_thread_freed_is_used_again_unless_the_environment_tunes_malloc(variable, is_kept):
    said = subprocess.run([sys.executable, "-c", REUSE], env=os.environ | variable, capture_output=True, check=True)
    assert (int(said.stdout) < 20) is is_kept  # page faults of 100 MB: 24,000 small ones or 48 large ones
