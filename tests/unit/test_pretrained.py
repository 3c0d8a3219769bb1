"""The models that ship with the package are known by name, from any folder."""

from pathlib import Path

import pytest

from prism_jax import pretrained
from prism_jax.weights.files import fingerprint


@pytest.mark.parametrize("name", ["phantom", "phantom/vae", "phantom_judges/densenet", "phantom_judges/convnext"])
def test_a_shipped_model_is_found_by_name_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pretrained.folder(name) == pretrained.FOLDER / name
    assert (pretrained.folder(name) / "config.json").is_file() or (pretrained.folder(name) / "unet").is_dir()


def test_a_path_in_the_checkout_as_older_configurations_have_it_works_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fingerprint("prism_jax/pretrained/phantom/vae") == fingerprint("phantom/vae")


def test_a_model_of_the_users_own_takes_precedence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phantom").mkdir()  # a data set, for instance
    assert pretrained.folder("phantom") == pretrained.FOLDER / "phantom"
    (tmp_path / "phantom" / "model_index.json").write_text("{}")
    assert pretrained.folder("phantom") == Path("phantom")


@pytest.mark.parametrize("path", ["models/mine", "../phantom", "..", ".", "/phantom", "prism_jax/pretrained"])
def test_any_other_path_is_returned_as_it_is(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pretrained.folder(path) == Path(path)
