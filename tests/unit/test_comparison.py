"""`prism report`: what it reads from run folders, what it says of them side by side, and what it refuses."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from prism_jax import report
from prism_jax.cli import main as cli_main
from prism_jax.report import comparison, numbers, runs
from prism_jax.report.comparison import ComparisonConfig
from prism_jax.stats.intervals import Estimate

ESTIMATE = Estimate(value=0.5, low=0.25, high=0.75, count=8)
NOTHING = Estimate(value=float("nan"), low=float("nan"), high=float("nan"), count=0)
TABLE = report.Table(
    title="Truth",
    columns=("Edit", report.Column(name="Closer", unit="%"), report.Column(name="Error", unit="levels"), "Note"),
    rows=(
        ("remove pacemaker", report.Check(estimate=ESTIMATE, at_least=0.8), 3, "good"),
        ("add it", NOTHING, 2.5, None),
    ),
)
CONFIG = ComparisonConfig(resamples=50)


def write_run(folder, *, level: int, steps: int = 50, subjects: int = 3):
    """A run of one edit of some subjects, whose edited pictures are of one grey level."""
    folder.mkdir(parents=True)
    config = {"class": "eval.counterfactuals:CounterfactualRun", "run": str(folder), "inversion": {"steps": steps}}
    (folder / "config.json").write_text(json.dumps(config | {"changes": [{"class": "a:B", "edit": "x"}]}))
    numbers.write((TABLE,), folder / "metrics.json")
    lines = [json.dumps({"step": i, "loss": level / (i + 1), "grad_norm": 1.0}) for i in range(30)]
    (folder / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 31, "lo']))
    rows = []
    for i in range(subjects):
        for kind, value in (("original", 10), ("edited", level)):
            Image.fromarray(np.full((16, 16), value + i, np.uint8)).save(folder / f"{i}-{kind}.png")
        pictures = {"original": f"{i}-original.png", "edited": f"{i}-edited.png"}
        rows.append(
            dict(id=str(i), patient=f"p{i // 2}", edit="remove it", psnr=30.0 + level, mean_change=1.0) | pictures
        )
    rows.append(dict(id="9", patient="p9", edit="remove it", psnr=None, mean_change=None, original=None, edited=None))
    pq.write_table(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [write_run(folder / "a", level=100), write_run(folder / "b", level=102, steps=20, subjects=2)]


@pytest.fixture(scope="module")
def both(folders):
    return runs.read_all(folders)


def test_tables_read_back_as_they_were_written(both):
    (table,) = both[0].tables
    assert table.rows[0] == TABLE.rows[0]
    assert np.isnan(table.rows[1][1].value)
    assert (table.title, table.columns) == (TABLE.title, TABLE.columns)


@pytest.mark.parametrize("name", ["comparison.json", "axioms.json"])
def test_tables_are_read_from_files_of_their_old_names(folders, tmp_path, name):
    for file in ("config.json", "metrics.json"):
        (tmp_path / file.replace("metrics.json", name)).write_bytes((folders[0] / file).read_bytes())
    (table,) = runs.read(tmp_path, "old").tables
    assert table.title == TABLE.title


def test_csv_has_a_line_a_number_with_its_interval(folders):
    lines = (folders[0] / "metrics.csv").read_text().splitlines()
    assert lines[0] == ",".join(numbers.COLUMNS)
    assert lines[1] == "Truth,remove pacemaker,Closer,%,0.5,0.25,0.75,8,0.8,,False,"
    assert lines[4] == "Truth,add it,Closer,%,,,,0,,,,"
    assert len(lines) == 6


def test_metrics_of_other_programs_are_read_by_their_names(tmp_path):
    file = tmp_path / "metrics.json"
    estimate = dict(value=0.9, low=0.8, high=None, count=3)
    file.write_text(json.dumps({"auroc": {"Edema": estimate, "mean": 0.7}, "best": [1, 2]}))
    (table,) = numbers.read(file)
    assert [row[0] for row in table.rows] == ["auroc.Edema", "auroc.mean"]
    assert (table.rows[0][1].value, table.rows[1][1]) == (0.9, 0.7)
    file.write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"metrics\.json holds no tables"):
        numbers.read(file)


def test_only_settings_that_differ_are_in_the_table(both):
    table = comparison.settings_table(both)
    assert table.rows == (("inversion.steps", "50", "20"),)
    assert table.columns == ("Setting", "a", "b")


def test_all_numbers_stand_side_by_side_and_shares_in_percent(both):
    first, *_ = comparison.numbers_table(both).rows
    assert first[:2] == ("Closer, %", "remove pacemaker")
    assert [cell.estimate.value for cell in first[2:]] == [50.0, 50.0]
    assert first[2].at_least == 80.0
    assert not first[2].is_met


def test_differences_are_of_the_subjects_that_both_have(both):
    psnr, change = comparison.paired_table(both, CONFIG).rows
    assert psnr[2] == Estimate(value=2.0, low=2.0, high=2.0, count=1)  # two subjects of one patient
    assert change[2].value == 0


def test_the_same_subjects_pictures_are_beside_each_other(both):
    first, second = comparison.strips(both, 4)  # the third was not made by both
    assert [one.caption for one in first.images] == ["Original", "a", "b"]
    assert [int(one.image[0, 0]) for one in second.images] == [11, 101, 103]


def test_what_both_logged_is_overlaid_losses_first(both):
    loss, norm = comparison.curves(both)
    assert (loss.title, norm.title) == ("loss", "grad norm")
    np.testing.assert_allclose(loss.lines["b"][1], 102 / np.arange(1, 31))


def test_the_command_writes_a_page_and_its_numbers(folders, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        cli_main.main(["report", *map(str, folders), "--out", str(tmp_path / "out"), "--resamples", "50"])
    assert stop.value.code == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(words in page for words in ("Settings that differ", "inversion.steps", "Same subjects, paired"))
    assert (tmp_path / "out" / "metrics.csv").is_file()
    assert "a, b" in capsys.readouterr().out


def test_runs_are_named_by_what_tells_them_apart(tmp_path):
    name = lambda *paths: runs.names([tmp_path / path for path in paths])
    assert name("x/a/run", "x/b/run") == ["a/run", "b/run"]
    assert name("demo", "demo/finetune") == ["demo", "demo/finetune"]
    assert name("x/run") == ["run"]


def test_what_prism_edit_left_is_a_run(tmp_path):
    result = {"settings": {"image": "x.png", "steps": 5}, "edited_prompt": "p", "metrics": {"edit": {"l1": 0.1}}}
    (tmp_path / "result.json").write_text(json.dumps(result))
    for name in ("original", "edit"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"{name}.png")
    document = comparison.compare(runs.read_all([tmp_path]), CONFIG)
    assert [table.rows for table in document.tables] == [(("Value", "edit.l1", 0.1),)]
    assert len(document.strips) == 1


def test_the_effects_of_an_audit_are_numbers_too(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    lines = [
        "judge,scale,edit,attribute,patients,effect,effect_low,effect_high,verdict",
        "all judges,probability,remove it,Pacemaker,8,-0.5,-0.6,-0.4,effect",
        "all judges,logit,remove it,Pacemaker,8,-2,-3,-1,effect",
        "a,probability,remove it,Pacemaker,8,-0.4,-0.5,,effect",
    ]
    (tmp_path / "matrix.csv").write_text("\n".join(lines))
    (run,) = runs.read_all([tmp_path])
    effect = Estimate(value=-0.5, low=-0.6, high=-0.4, count=8)
    assert run.tables[0].rows == (("remove it: Pacemaker", effect, "effect"),)
    (tmp_path / "matrix.csv").write_text(lines[0].replace("verdict", "x") + "\n" + lines[1])
    with pytest.raises(ValueError, match=r"matrix\.csv is not the matrix\.csv of an audit"):
        runs.read_all([tmp_path])


def test_folders_that_are_no_runs_are_refused(folders, tmp_path):
    with pytest.raises(ValueError, match=r"is not a run: .*did you mean one of a, b in it"):
        runs.read_all([folders[0].parent])
    with pytest.raises(ValueError, match=r"is not a run: .*give the folder that a program wrote"):
        runs.read_all([tmp_path])
    with pytest.raises(ValueError, match="is not a folder"):
        runs.read_all([tmp_path / "absent"])
    with pytest.raises(ValueError, match="given more than once"):
        runs.read_all([folders[0], folders[0]])
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        runs.read_all([tmp_path])
