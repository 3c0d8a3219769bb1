"""Configurations survive JSON, and the command line changes exactly what it names."""

import dataclasses
import runpy

import jax.numpy as jnp
import pytest

from prism_jax import config as configs
from prism_jax import entrypoint
from tests.conftest import config_name, shipped_configs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    rate: float = 1e-3
    sides: tuple[int, ...] = (8, 16)
    dtype: jnp.dtype = jnp.float32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    run: str = "runs/x"
    part: Part = Part()
    parts: tuple[Part, ...] = ()
    crop: int | None = None
    words: tuple[str, ...] = ()
    is_quick: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class OtherRun:
    run: str = "runs/x"


RUN = Run(part=Part(rate=0.1, dtype=jnp.bfloat16), parts=(Part(), Part(sides=())), crop=3, words=("a b", ""))


def code_and_line(args, capsys) -> tuple[int, str]:
    seen = []
    code = entrypoint.run(seen.append, Run, args)
    err = capsys.readouterr().err
    assert err.count("\n") == (1 if code else 0)
    return code, err or seen[0]


def test_a_written_configuration_reads_back_equal(tmp_path):
    configs.write(RUN, tmp_path)
    assert configs.read(tmp_path) == RUN
    assert configs.load(tmp_path / "config.json") == RUN


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
def test_wrong_options_are_one_line_and_exit_code_2(args, said, tmp_path, capsys):
    configs.write(RUN, tmp_path)
    code, line = code_and_line(["--config", str(tmp_path), *args], capsys)
    assert code == 2
    assert said in line


def test_a_missing_or_foreign_configuration_is_one_line_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "torn.json").write_text("{")
    configs.write(OtherRun(), tmp_path / "other")
    for name in ("absent.py", "absent.json", "empty.py", "torn.json", "other"):
        assert code_and_line(["--config", str(tmp_path / name)], capsys)[0] == 2
    code, line = code_and_line([], capsys)
    assert code == 2
    assert "needs --config FILE" in line
    code, line = code_and_line(["--config", str(tmp_path / "other")], capsys)
    assert "takes a Run, not a OtherRun" in line


def test_a_python_file_composes_a_configuration(tmp_path):
    text = "import dataclasses\nfrom tests.unit.test_config import RUN\ndef config():\n    return RUN\n"
    (tmp_path / "run.py").write_text(text)
    assert dataclasses.asdict(configs.load(tmp_path / "run.py")) == dataclasses.asdict(RUN)


@pytest.mark.parametrize("path", shipped_configs("[a-z]*"), ids=config_name)
def test_configs_that_we_ship_survive_json_and_the_command_line(path, tmp_path):
    made = runpy.run_path(str(path)).get("config")
    if made is None:
        pytest.skip("not a configuration of a program")
    configs.write(made(), tmp_path)
    assert configs.override(configs.read(tmp_path), []) == made()
