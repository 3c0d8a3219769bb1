"""The `prism` command: exit codes, one-line errors, and what `prism doctor` sees."""

import importlib.metadata
import shutil
from pathlib import Path

import jax
import pytest
from packaging.requirements import Requirement

from prism_jax import programs
from prism_jax.cli import configs, data_build, doctor, run_program
from prism_jax.cli import main as cli_main
from prism_jax.config import load


def run(args: str, capsys: pytest.CaptureFixture) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `prism ARGS`."""
    with pytest.raises(SystemExit) as stop:
        cli_main.main(args.split())
    return stop.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("paint", "no command prism paint"),
        ("data make phantom", "no command prism data make"),
        ("data build folder --source nowhere --out x", "nowhere"),
        ("train paint", "no program prism train paint"),
        ("train scm --config demo/finetune", "prism train scm is called prism train image_mechanism now"),
        ("train finetune", "needs --config NAME_OR_FILE, for example --config demo/finetune"),
        ("train finetune --config", "--config needs a name or a file"),
        ("train finetune --config a --config=b", "--config is given 2 times: a, b; give it once"),
        ("train finetune --config demo/fintune", "did you mean demo/finetune?"),
        (
            "train finetune --config demo/finetune",
            "(here: prism data build phantom --out runs/demo/data --preset",
        ),
        ("configs cardiology", "no configuration has cardiology"),
        ("train finetune --config configs/demo/finetune.py", "(here: prism data build phantom --out runs/demo/data"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(args, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(args, capsys)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not out
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("doctor --loud", "--loud"),
        ("data build", "folder"),
        ("data build folder --out x", "--source"),
        ("data build phantom --out x --size big", "--size"),
        ("data build phantom --out x --preset odd", "odd"),
        ("train finetune --config demo/finetune --loop.step 3", "--loop.steps"),
    ],
)
def test_wrong_options_are_named_and_exit_code_2(args, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(args, capsys)
    assert code == 2
    assert said in err
    assert not out
    assert not any(tmp_path.iterdir())


def test_the_configuration_of_another_program_is_refused_in_one_line_for_every_pair(capsys):
    of_program = {entry.program: entry.name for entry in configs.entries()}
    pairs = 0
    for asked in programs.PROGRAMS:
        for name in of_program.values():
            takers = programs.taking(type(load(name)))
            if asked in takers:
                continue
            code, out, err = run(f"{asked.command} {asked.name} --config {name}", capsys)
            assert (code, out, err.count("\n")) == (2, "", 1), (asked, name)
            assert all(str(taker) in err for taker in takers)
            pairs += 1
    assert pairs >= len(programs.PROGRAMS) * (len(of_program) - 1) - 1


@pytest.mark.parametrize("args", ["", "--help", "-h"])
def test_help_names_every_command_and_succeeds(args, capsys):
    code, out, _ = run(args, capsys)
    assert code == 0
    assert all(command in out for command in cli_main.COMMANDS)


def test_the_version_is_that_of_the_package(capsys):
    assert run("--version", capsys)[:2] == (0, f"prism {importlib.metadata.version('prism-jax')}\n")


@pytest.mark.parametrize("command", cli_main.COMMANDS)
def test_every_command_explains_itself(command, capsys):
    code, out, _ = run(f"{command} --help", capsys)
    assert code == 0
    assert f"usage: prism {command}" in out


@pytest.mark.parametrize("args", ["data", "data --help", "train", "eval", "train -h"])
def test_a_group_of_commands_lists_them(args, capsys):
    code, out, _ = run(args, capsys)
    group = args.split()[0]
    listed = ("data build", "data report") if group == "data" else [program.name for program in programs.of(group)]
    assert code == 0
    assert all(name in out for name in listed)


@pytest.mark.parametrize("program", programs.PROGRAMS, ids=str)
def test_every_program_explains_itself_without_a_configuration(program, capsys):
    code, out, _ = run(f"{program.command} {program.name} --help", capsys)
    assert code == 0
    assert f"usage: {program} --config" in out
    assert "defaults below are those of" in " ".join(out.split())


def test_the_help_for_a_configuration_shows_its_values(capsys):
    _, out, _ = run("train finetune --config folder/finetune --help", capsys)
    assert "runs/folder_sd15" in out


def test_the_list_of_configurations_can_be_narrowed(capsys):
    _, everything, _ = run("configs", capsys)
    _, few, _ = run("configs finetune demo", capsys)
    assert "prism eval audit --config demo/audit" in everything
    assert "demo/audit" not in few
    assert "needs: prism train encode_latents --config demo/finetune" in few


def test_launchers_and_programs_agree():
    root = Path(__file__).parents[2]
    for program in programs.PROGRAMS:
        assert (
            f'main("{program.command}", "{program.name}")'
            in (root / program.command / f"{program.name}.py").read_text()
        )
    count = sum(len(list((root / command).glob("[a-z]*.py"))) for command in run_program.GROUPS)
    assert count == len(programs.PROGRAMS)


def test_a_missing_package_is_named_in_one_line(capsys, monkeypatch):
    def absent(name: str):
        raise ModuleNotFoundError("No module named 'grain.python'", name="grain.python")

    monkeypatch.setattr(cli_main.importlib, "import_module", absent)
    code, _, err = run("data build phantom --out x", capsys)
    assert code == 2
    assert "pip install 'prism-jax[data]'" in err


def test_a_defect_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(doctor, "packages", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli_main.main(["doctor"])


def test_data_build_hands_every_option_to_the_builder(capsys, monkeypatch):
    calls = []
    monkeypatch.setattr(data_build, "build", lambda *args: calls.append(args))
    run("data build folder --source a --out b --flags tube pump=heart_pump --sex-column None --max-bad 0.5", capsys)
    name, source, out, config = calls[0]
    assert (name, str(source), str(out)) == ("folder", "a", "b")
    assert config.flags == ("tube", "pump=heart_pump")
    assert config.sex_column is None
    assert config.patient_column == "patient"
    assert config.ingest.max_bad == 0.5


def test_doctor_sees_the_devices_and_calls_them_fit():
    found = list(doctor.devices())
    seen = [finding for finding in found if finding.text.startswith("device")]
    assert len(seen) == len(jax.devices())
    assert all(finding.state == "ok" for finding in seen)


def test_doctor_says_that_a_gpu_is_not_used(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.delenv("JAX_PLATFORMS")
    last = list(doctor.devices())[-1]
    assert last.state == "wrong"
    assert "cuda12" in last.remedy


def test_doctor_tells_a_missing_core_package_from_a_missing_extra(monkeypatch):
    needs = ["jax>=0.10", "no-such-core>=1", 'jinja2>=3; extra == "report"', 'no-such-extra; extra == "data"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)
    version = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.1.0" if name == doctor.PACKAGE else version(name)
    )
    _, core, data, report, _ = doctor.packages()
    assert (core.state, "no-such-core is missing" in core.text) == ("wrong", True)
    assert (data.state, data.remedy) == ("note", "pip install 'prism-jax[data]'")
    assert report.state == "ok"


def test_doctor_refuses_a_version_that_is_too_old():
    _, lacking = doctor._compare([Requirement("numpy>=999")])
    assert "is not >=999" in lacking[0]


def test_doctor_warns_of_a_compilation_cache_it_cannot_write(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        (finding,) = doctor.compilation_cache()
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert finding.state == "wrong"


def test_a_finished_program_prints_where_its_results_are_and_what_comes_next(capsys):
    run_program.report(programs.find("train", "finetune"), load("demo/finetune"), "demo/finetune")
    out = capsys.readouterr().out
    assert out == "results: runs/demo/finetune\nnext: prism export --run runs/demo/finetune --out DIR\n"
    for program in programs.PROGRAMS:
        assert program.next.format(run="r", config="c") is not None


@pytest.mark.parametrize(
    "args",
    [
        "data build phantom --out file/x",
        "data report data --out file/x",
        "report a b --out file/x",
        "export --run a --out file/x",
        "edit --example --remove pacemaker --out file/x",
        "train finetune --config demo/finetune --run file/x",
        "eval audit --config demo/audit --run file/x",
    ],
)
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(args, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    code, _, err = run(args, capsys)
    assert (code, err) == (2, "error: file/x cannot be written: file is a file; name another folder\n")
