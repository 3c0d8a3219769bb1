"""Nothing is imported before it is needed: optional packages where they are used, JAX by the commands that compute."""

import json
import subprocess
import sys

import pytest

CODE = """
import importlib, json, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
failed = {}
for package in PACKAGES:
    package = importlib.import_module(package)
    names = [package.__name__]
    if hasattr(package, "__path__"):
        names += [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    for name in names:
        try:
            name.endswith("__main__") or importlib.import_module(name)
        except ModuleNotFoundError as error:
            failed[name] = error.name
print(json.dumps(failed))
"""
EXTRAS = (
    "orbax array_record grain pyarrow pydicom tensorflow_datasets jinja2 plotly tensorboardX diffusers torch sklearn"
)
COMMANDS = "PIL tqdm tyro cattrs packaging"  # these serve commands and programs
CORE = ("models", "diffusion", "editing", "stable_diffusion", "classifier")
# Imported, in turn, only where they are used.
OF_ONE_EXTRA = {
    "prism_jax.data.sources.shard_writer",
    "prism_jax.data.sources.tfds_builders",
    "prism_jax.report.charts",
}


def failed(packages: list[str], absent: str) -> dict[str, str]:
    """The modules that cannot be imported without the packages `absent`, and which of them they need."""
    code = f"ABSENT, PACKAGES = {absent.split()}, {packages}\n{CODE}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return json.loads(ended.stdout)


def test_all_modules_but_those_of_one_extra_are_imported_without_the_extras():
    assert failed(["prism_jax"], EXTRAS).keys() == OF_ONE_EXTRA


def test_the_core_is_imported_with_jax_flax_optax_numpy_safetensors_and_transformers_alone():
    assert not failed([f"prism_jax.{name}" for name in CORE], f"{EXTRAS} {COMMANDS}")


@pytest.mark.parametrize("args", [["--help"], ["train"], ["data"], ["--version"]])
def test_what_computes_nothing_does_not_wait_for_jax(args):
    code = f"from prism_jax.cli.main import dispatch\ndispatch({args})\nimport sys\n"
    code += "print([name for name in ('jax', 'numpy', 'tyro', 'transformers') if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_public_names_are_imported_when_they_are_used():
    import prism_jax
    from prism_jax import Classifier, StableDiffusion, editing

    assert {"Classifier", "StableDiffusion", "editing"} <= set(dir(prism_jax))
    assert StableDiffusion.from_pretrained
    assert Classifier.from_pretrained
    assert editing.invert
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(prism_jax, "nothing")  # noqa: B009
