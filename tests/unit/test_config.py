"""Configurations survive JSON, are found by name, and the command line changes exactly what it names."""

import dataclasses
import json
import math
from pathlib import Path

import jax.numpy as jnp
import pytest

from prism_jax import config as configs
from prism_jax import config_aliases, json_codec, programs
from prism_jax.cli import run_program
from prism_jax.cli.configs import entries
from prism_jax.training.classifier.run import ClassifierRun
from tests.conftest import config_name, shipped_configs

OLD = json.loads((Path(__file__).parents[1] / "data" / "configs_of_0.1.json").read_text())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    rate: float = 1e-3
    sides: tuple[int, ...] = (8, 16)
    dtype: jnp.dtype = jnp.float32


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherPart:
    rate: float = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    run: str = "runs/x"
    part: Part = Part()
    either: Part | OtherPart | None = None
    parts: tuple[Part | OtherPart, ...] = ()
    crop: int | None = None
    words: tuple[str, ...] = ()
    is_quick: bool = False


RUN = Run(
    part=Part(rate=0.1, dtype=jnp.bfloat16),
    either=OtherPart(),
    parts=(Part(), OtherPart(rate=2), Part(sides=())),
    crop=3,
    words=("a b", ""),
)


@pytest.fixture
def known(monkeypatch):
    """The classes above as classes of configurations."""
    monkeypatch.setattr(configs, "CLASSES", {"Run": __name__, "Part": __name__})


def test_a_written_configuration_reads_back_equal(tmp_path, known):
    configs.write(RUN, tmp_path)
    assert configs.read(tmp_path) == RUN
    assert configs.load(tmp_path / "config.json") == RUN


def test_a_config_json_names_classes_without_modules_and_only_where_fields_leave_them_open(tmp_path, known):
    configs.write(RUN, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["class"] == "Run"
    assert [part["class"] for part in written["parts"]] == ["Part", "OtherPart", "Part"]
    assert written["part"] == {"rate": 0.1, "sides": [8, 16], "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"class": "os:system"}, "system is not a configuration"),
        ({"class": "tests.unit.test_config:OtherPart"}, "OtherPart is not a configuration"),
        ({"run": "x"}, "names no class"),
        ({"class": "Run", "part": {"rat": 1}}, "rat at part"),
        ({"class": "Run", "part": {"rate": "fast"}}, "'fast' is not of type float at part.rate"),
        ({"class": "Run", "words": "ab"}, "'ab' is not a list at words"),
        ({"class": "Run", "crop": 1.5}, "crop"),
        ({"class": "Run", "is_quick": 1}, "is_quick"),
        ({"class": "Run", "either": {"class": "Run"}}, "class Run is not one of Part, OtherPart at either"),
        ({"class": "Run", "either": {"rate": 1.0}}, "names no class at either"),
    ],
)
def test_a_config_json_that_does_not_fit_is_refused_with_the_place(content, said, tmp_path, known):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is not a configuration this version reads") as error:
        configs.read(tmp_path)
    assert said in str(error.value)


def test_renamed_and_removed_fields_of_older_files_are_read(tmp_path, known, monkeypatch):
    monkeypatch.setattr(config_aliases, "FIELDS", {"Run": {"workers": "crop"}})
    monkeypatch.setattr(config_aliases, "REMOVED", {"Run": {"order": "linear"}})
    monkeypatch.setattr(config_aliases, "VALUES", {"Run": {"run": {"old": "new"}}})
    monkeypatch.setattr(configs, "_CONFIGS", configs.converter())
    for order, is_read in (("linear", True), ("cubic", False)):
        (tmp_path / "config.json").write_text(
            json.dumps({"class": "old.module:Run", "run": "old", "workers": 4, "order": order})
        )
        if is_read:
            assert configs.read(tmp_path) == Run(run="new", crop=4)
        else:
            with pytest.raises(ValueError, match="no order any more"):
                configs.read(tmp_path)


@pytest.mark.parametrize("name", OLD)
def test_a_config_json_of_before_the_package_was_one_is_read_written_and_read(name, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(OLD[name]))
    config = configs.read(tmp_path)
    assert programs.taking(type(config))
    configs.write(config, tmp_path / "again")
    assert configs.read(tmp_path / "again") == config


def test_every_class_of_a_config_json_is_where_the_table_says():
    for name, module in configs.CLASSES.items():
        assert dataclasses.is_dataclass(getattr(configs.importlib.import_module(module), name)), name


def test_an_option_on_the_command_line_changes_it_and_nothing_else():
    args = "--part.rate 2 --part.dtype bfloat16 --part.sides 1 2 3 --crop 5 --is-quick True".split()
    wanted = Run(part=Part(rate=2.0, dtype=jnp.bfloat16, sides=(1, 2, 3)), crop=5, is_quick=True)
    assert configs.override(Run(), args) == wanted
    assert configs.override(wanted, ["--crop", "None"]).crop is None


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--part.rat", "2"], "--part.rat"),
        (["--part.rate", "fast"], "fast"),
        (["--part.rate"], "--part.rate"),
        (["stray"], "stray"),
    ],
)
def test_wrong_options_are_named_with_exit_code_2(args, said, capsys):
    with pytest.raises(SystemExit) as stop:
        configs.override(Run(), args)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_a_python_file_composes_a_configuration(tmp_path):
    text = "import dataclasses\nfrom tests.unit.test_config import RUN\ndef config():\n    return RUN\n"
    (tmp_path / "run.py").write_text(text)
    assert dataclasses.asdict(configs.load(tmp_path / "run.py")) == dataclasses.asdict(RUN)


@pytest.mark.parametrize(
    "named", ["covid/classifier", "configs/covid/classifier.py", "prism_jax/configs/covid/classifier.py"]
)
def test_a_shipped_configuration_is_found_by_name_from_any_folder(named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert isinstance(configs.load(named), ClassifierRun)


def test_a_run_folder_takes_precedence_over_a_shipped_name(tmp_path, monkeypatch, known):
    monkeypatch.chdir(tmp_path)
    configs.write(RUN, "covid/classifier")
    assert configs.load("covid/classifier") == RUN


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(FileNotFoundError, match="did you mean demo/finetune"):
        configs.load("demo/finetun")


@pytest.mark.parametrize("path", shipped_configs("[a-z]*"), ids=config_name)
def test_configs_that_we_ship_survive_json_and_the_command_line(path, tmp_path):
    config = configs.load(path)
    configs.write(config, tmp_path)
    assert configs.override(configs.read(tmp_path), []) == config


@pytest.mark.parametrize("entry", list(entries()), ids=lambda entry: entry.name)
def test_shipped_configurations_state_their_program_needs_and_time(entry):
    program = next(program for program in programs.PROGRAMS if str(program) == entry.program)
    run_program.check(program, configs.load(entry.name), entry.name)
    assert entry.takes
    for command in entry.needs:  # a command, or in words
        if command.startswith(("prism train", "prism eval")):
            _, kind, name, *options = command.split()
            needed = programs.find(kind, name)
            named = options[options.index("--config") + 1]
            run_program.check(needed, configs.load(named), named)


def test_a_configuration_without_one_of_the_three_lines_is_refused(tmp_path):
    from prism_jax.cli.configs import read

    (tmp_path / "x.py").write_text('"""Something.\n\nProgram: prism train vae\nTakes: not measured\n"""\n')
    with pytest.raises(ValueError, match="no line Needs"):
        read(tmp_path / "x.py")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    name: str
    value: float
    parts: tuple[OtherPart, ...] = ()


def test_records_turn_nan_into_null_and_back():
    written = json_codec.encode(Record(name="x", value=math.nan, parts=(OtherPart(rate=1.0),)))
    assert written == {"name": "x", "value": None, "parts": [{"rate": 1.0}]}
    assert math.isnan(json_codec.decode(Record, written).value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"name": "x", "value": 1.0}, "Record has the fields"),  # not even one with a default may lack
        ({"name": "x", "value": 1.0, "parts": [], "more": 1}, "more"),
        ({"name": 3, "value": 1.0, "parts": []}, "3 is not of type str at name"),
        ({"name": "x", "value": 1.0, "parts": [{"rate": "1"}]}, "rate"),
    ],
)
def test_records_with_other_fields_are_refused(content, said):
    with pytest.raises(ValueError, match=said):
        json_codec.decode(Record, content)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match=r"image\.png is neither a Python file"):
        configs.load(tmp_path / "image.png")
