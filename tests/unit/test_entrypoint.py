"""What programs do before their own work."""

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
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    entrypoint.enable_compilation_cache()
    assert Path(jax.config.jax_compilation_cache_dir).parent == tmp_path / "prism_jax"


@pytest.mark.parametrize("folder", ["", "/elsewhere"])
def test_what_the_environment_says_about_the_cache_stands(folder, cache_off, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
    entrypoint.enable_compilation_cache()
    assert jax.config.jax_compilation_cache_dir is None  # as JAX read it when it was imported
