"""Every command of the README and the documentation exists, with its configuration and options; the quick ones run."""

import ast
import importlib
import importlib.util
import os
import re
import shlex
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import tyro
from PIL import Image

from prism_jax.cli import configs

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
PAGES = [page for page in PAGES if "_build" not in page.parts]
FENCE = re.compile(r"(?:<!-- (?P<how>[^\n]*) -->\n)?```(?P<language>\w+)[^\n]*\n(?P<text>.*?)\n```", re.DOTALL)
HOW = ("run: make demo", "run: offline", "parsed: ", "not run: ")
INLINE = re.compile(r"`(prism (?:train|eval) (?!NAME)[^`]*?--config (?!NAME)[^`]*)`")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


class Block(NamedTuple):
    page: Path
    how: str
    text: str

    def commands(self) -> list[list[str]]:
        """Its commands as words, variables and loops of the shell replaced by their first value."""
        values: dict[str, str] = {}
        found = []
        for line in re.sub(r"\\\n\s*", " ", self.text).splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["for"]:
                values[words[1]] = words[3].rstrip(";")
            elif words and re.fullmatch(r"\w+=\S*", words[0]):
                name, _, value = words[0].partition("=")
                values[name] = value
            elif words[:1] == ["prism"] or words[:2] == ["python", "-m"]:
                text = string.Template(line.strip()).safe_substitute(values)
                found.append(shlex.split(text, comments=True))
        return found


def blocks(language: str) -> Iterator[Block]:
    for page in PAGES:
        for match in FENCE.finditer(page.read_text(encoding="utf-8")):
            if match["language"] == language:
                yield Block(page, match["how"] or "", match["text"])


def all_commands() -> list[list[str]]:
    """Every command of the pages once, those within a sentence and those that configurations need too."""
    listed = [command for block in blocks("bash") for command in block.commands()]
    for page in PAGES:
        listed += [shlex.split(text) for text in INLINE.findall(" ".join(page.read_text(encoding="utf-8").split()))]
    listed += [shlex.split(need) for entry in configs.entries() for need in entry.needs if need.startswith("prism ")]
    return [list(words) for words in sorted(set(map(tuple, listed)))]


def parse(words: list[str]) -> None:
    """Reads a command as the program would, without running it; raises for what it would refuse."""
    from prism_jax import config as config_files
    from prism_jax import programs
    from prism_jax.cli import main, run_program

    if words[0] == "python":
        words = ["prism", *words[2].split("."), *words[3:]] if re.match(r"(train|eval)\.", words[2]) else words
    if words[0] == "python":
        module = importlib.import_module(words[2])
        assert not words[3:] or tyro.cli(module.Options, args=words[3:])
    elif words[1] in ("train", "eval"):
        program = programs.find(words[1], words[2])
        named, options = run_program.split(words[3:])
        config = config_files.load(named)
        run_program.check(program, config, named)
        config_files.override(config, options)
    else:
        command = next(c for c in main.COMMANDS if words[1 : 1 + len(c.split())] == c.split())
        module = importlib.import_module(f"prism_jax.cli.{command.replace(' ', '_')}")
        tyro.cli(module.Options, args=words[1 + len(command.split()) :])


@pytest.mark.parametrize("command", all_commands(), ids=" ".join)
def test_every_command_of_the_documentation_exists_with_its_configuration_and_options(command):
    try:
        parse(command)
    except (SystemExit, StopIteration) as error:
        pytest.fail(f"{' '.join(command)} is refused: {error!r}")


def test_a_command_that_does_not_exist_is_noticed():
    for wrong in ("prism edti x.png", "prism edit x.png --out o --colour", "prism train finetune --config demo/nothing",
                  "prism eval audit --config demo/finetune", "python -m benchmarks.nothing"):  # fmt: skip
        with pytest.raises((SystemExit, StopIteration, ValueError, OSError, ImportError)):
            parse(wrong.split())


def test_every_block_of_commands_says_how_it_is_tested():
    unmarked = [
        f"{block.page.relative_to(ROOT)}: {block.text}" for block in blocks("bash") if not block.how.startswith(HOW)
    ]
    assert not unmarked


def test_the_demo_tutorial_is_make_demo():
    page = [words for block in blocks("bash") if block.how == HOW[0] for words in block.commands()]
    recipe = re.search(r"^demo:.*?\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    made = [shlex.split(line.replace("$(BIN)/", "")) for line in recipe.splitlines() if "$(BIN)/" in line]
    assert page == made


def test_python_examples_import_names_that_exist():
    for block in blocks("python"):
        for node in ast.walk(ast.parse(block.text)):
            for name in node.names if isinstance(node, ast.ImportFrom) else ():
                module = importlib.import_module(node.module)
                is_there = hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}")
                assert is_there, f"{block.page}: no {name.name} in {node.module}"


def test_links_between_files_lead_somewhere():
    pages = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
    links = [(page, link) for page in pages for link in LINK.findall(page.read_text(encoding="utf-8"))]
    assert not [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()]


def test_the_generated_reference_has_every_command_configuration_and_option_that_pages_name(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")  # is set anew there
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
    prism_reference = importlib.import_module("prism_reference")

    commands = "\n".join(prism_reference._commands())
    for heading in ("prism data build folder", "prism train finetune", "prism eval audit", "prism doctor"):
        assert f"## {heading}\n" in commands
    mentioned = {
        option
        for page in PAGES
        for span in re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text(encoding="utf-8")))
        for option in re.findall(r"(?:^|\s)(--[a-z][\w.-]*)", span)
    } - {"--logdir"}  # of TensorBoard
    assert not [option for option in mentioned if not re.search(rf"{re.escape(option)}[\s,]", commands)]
    shipped = {f"{file.parent.name}/{file.stem}" for file in (ROOT / "prism_jax/configs").glob("*/[!_]*.py")}
    assert set(re.findall(r"^\*\*(\S+)\*\*:", "\n".join(prism_reference._configurations()), re.MULTILINE)) == shipped


def test_the_readme_fits_on_few_screens():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_manifest_page_lists_the_columns_that_are_written():
    from prism_jax.evaluation.counterfactuals import manifest

    rows = re.findall(r"^\| (`.*?`) \| \w+ \|", (ROOT / "docs/reference/manifest.md").read_text(), re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == manifest._schema().names


@pytest.mark.nightly
def test_quick_commands_run_in_an_empty_folder(tmp_path):
    """One after the other, as a reader would; `my_xrays`, which a reader brings, is made of phantoms."""
    write_my_xrays(tmp_path / "my_xrays")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": "",
    }
    done = set()
    for block in blocks("bash"):
        if block.how != HOW[1] or block.text in done:
            continue
        done.add(block.text)
        ended = subprocess.run(["bash", "-e", "-c", block.text], cwd=tmp_path, env=environment, capture_output=True)
        assert ended.returncode == 0, f"{block.page}: {block.text}\n{ended.stderr.decode()}"
    assert (tmp_path / "first" / "before_after.png").is_file()
    assert (tmp_path / "runs" / "my_xrays_report" / "report.html").is_file()


def write_my_xrays(folder: Path, count: int = 24) -> None:
    from prism_jax.data import phantom

    subjects = phantom.generate(range(2_000_000, 2_000_000 + count), equations=phantom.Equations.preset("balanced"))
    (folder / "images").mkdir(parents=True)
    lines = ["path,patient,findings,sex,age,view"]
    for i, pixels in enumerate(subjects.images):
        Image.fromarray(pixels).save(folder / "images" / f"{i:04}.png")
        findings = [name for name in ("cardiomegaly", "effusion", "pacemaker") if subjects.attributes[name][i]]
        sex, view = "FM"[subjects.attributes["sex"][i]], ("PA", "AP")[subjects.attributes["view"][i]]
        listed = ";".join(findings) or "No Finding"
        lines.append(f"images/{i:04}.png,p{i:03},{listed},{sex},{int(subjects.attributes['age'][i])},{view}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
