"""The first command of a newcomer, with the shipped model: the pacemaker goes, and nothing else does."""

import json

import pytest

from prism_jax.cli import main as cli_main

INCOMPLETE = "Chest X-ray of a 64-year-old woman, PA view, with cardiomegaly, effusion, pacemaker"
FILES = {"original.png", "reconstruction.png", "edit.png", "difference.png", "before_after.png", "result.json"}


@pytest.fixture
def edit(tmp_path, monkeypatch, capsys):
    """result.json and what was printed of `prism edit`, started in an empty folder."""

    def run(*args: str) -> tuple[dict, str]:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as stop:
            cli_main.main(["edit", *args])
        printed = capsys.readouterr()
        assert stop.value.code == 0, printed.err
        out = tmp_path / args[args.index("--out") + 1]
        assert {file.name for file in out.iterdir()} == FILES
        return json.loads((out / "result.json").read_text()), printed.out

    return run


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--prompt", INCOMPLETE),
        ("--prompt", INCOMPLETE, "--guidance", "2"),
        ("--guidance", "1.75", "--cross-steps", "0.4", "--self-steps", "0.4"),
    ],
    ids=["defaults", "incomplete caption", "incomplete caption, guidance 2", "everything given"],
)
def test_the_example_loses_its_pacemaker_and_keeps_heart_and_effusion(options, edit):
    result, printed = edit("--example", "--remove", "pacemaker", "--out", "first", *options)
    effects = result["effects"]
    assert effects["pacemaker"]["before"] > 0.5 > effects["pacemaker"]["after"]
    for name in ("cardiomegaly", "effusion"):
        assert effects[name]["before"] > 0.5
        assert abs(effects[name]["after"] - effects[name]["before"]) < 0.1
    assert result["succeeded"] is True
    assert "changed as asked" in printed
    assert "first/before_after.png" in printed


def test_an_edit_that_fails_says_so(edit):
    strengths = ("--guidance", "1", "--cross-steps", "1", "--self-steps", "1")
    result, printed = edit("--example", "--remove", "pacemaker", "--out", "failed", *strengths)
    assert result["succeeded"] is False
    assert "DID NOT CHANGE as asked" in printed
    assert "try smaller --cross-steps" in printed
