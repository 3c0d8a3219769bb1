"""Which edits a report shows as best, median and worst, and by what."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from prism_jax.evaluation.counterfactuals import gallery
from prism_jax.evaluation.counterfactuals import report as counterfactuals_report
from prism_jax.evaluation.counterfactuals.manifest import Manifest
from prism_jax.evaluation.counterfactuals.measure import AUTOENCODER, INVERSION, Outcome
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.edits import EditSpec
from prism_jax.metrics.counterfactual import CounterfactualMetrics
from prism_jax.report import Check
from prism_jax.stats.intervals import NO_ESTIMATE, Estimate

STRENGTHS = dict(self_steps=0.4, cross_steps=0.8, guidance=1.75)


def outcome(number: int, change: float, direction: float | None = None) -> Outcome:
    other = STRENGTHS | dict(guidance=3.0, scores={"direction": 9.0})
    scores = {} if direction is None else {"direction": direction}
    candidates = json.dumps([other, STRENGTHS | dict(scores=scores)])
    kept = {name: float(np.float32(value)) for name, value in STRENGTHS.items()}
    row = dict(id=str(number), edit="e", mean_change=change, candidates=candidates) | kept
    return Outcome(row=row, manifest=Manifest(Path()))


def measured(inside: list[float]) -> CounterfactualMetrics:
    nothing = {field.name: np.zeros(len(inside)) for field in dataclasses.fields(CounterfactualMetrics)}
    return CounterfactualMetrics(**nothing | dict(edit_inside=np.array(inside)))


def told(found) -> list[tuple[str, str]]:
    return [(one.row["id"], rank) for one, rank in found]


def test_where_the_truth_is_known_the_smallest_error_is_best():
    outcomes = [outcome(i, change=0.0, direction=0.0) for i in range(5)]
    found = told(gallery.chosen(outcomes, measured([4.0, np.nan, 2.0, 3.0, 9.0])))
    assert [image for image, _ in found] == ["2", "3", "4"]
    assert found[0][1] == "best of 4 by error to the truth inside the mask: 2.00 levels"
    assert found[2][1].startswith("worst of 4")


def test_else_the_highest_clip_score_of_the_candidate_that_was_kept():
    found = told(gallery.chosen([outcome(i, 0.0, score) for i, score in enumerate((0.1, 0.3, 0.2))], None))
    assert [image for image, _ in found] == ["1", "2", "0"]
    assert found[0][1] == "best of 3 by CLIP direction score: 0.300"


def test_else_by_the_size_of_the_change_which_is_not_called_good():
    found = told(gallery.chosen([outcome(i, change) for i, change in enumerate((1.0, 5.0, 2.0))], None))
    assert [image for image, _ in found] == ["1", "2", "0"]
    assert [rank.partition(" of ")[0] for _, rank in found] == ["largest change", "median change", "smallest change"]
    assert not any("best" in rank for _, rank in found)


def test_two_edits_are_not_ranked():
    assert gallery.chosen([outcome(0, 1.0), outcome(1, 2.0)], None) == []


def test_those_selected_by_result_are_not_those_drawn():
    outcomes = [outcome(i, change) for i, change in enumerate((1.0, 5.0, 2.0, 9.0))]
    found = told(gallery.chosen(outcomes, None, without={outcomes[3].key}))
    assert [image for image, _ in found] == ["1", "2", "0"]
    assert found[0][1].startswith("largest change of 3 others by")


def test_the_table_of_distances_states_the_targets_of_each_edit():
    truth = np.random.default_rng(0).integers(0, 256, (4, 8, 8), np.uint8)
    perfect = CounterfactualMetrics.of(reconstruction=truth, edited=truth, truth=truth, mask=np.ones((4, 8, 8), bool))
    config = CounterfactualRun(edits=(EditSpec(edit="add pacemaker"), EditSpec(edit="remove pacemaker")))
    fidelity = {name: dict.fromkeys(("psnr", "ssim", "l1"), NO_ESTIMATE) for name in (AUTOENCODER, INVERSION)}
    errors = {edit.name: perfect for edit in config.edits}
    distances = counterfactuals_report.distances(config, errors)
    images = counterfactuals_report.reconstructions(config, fidelity)
    checks = [cell for row in distances.rows for cell in row if isinstance(cell, Check)]
    assert [(check.at_least, check.at_most) for check in checks] == [(0.8, None), (None, 2.0), (0.8, None), (None, 1.5)]
    assert not any(check.is_met for check in checks)  # the reconstruction is as good; outside is empty
    assert [type(row[1]) for row in images.rows] == [Estimate, Check]


def test_a_training_without_a_loss_is_refused(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "psnr": 2.0}\n')
    with pytest.raises(ValueError, match=r"no line of .* has step and loss"):
        counterfactuals_report.training_curves(str(tmp_path))
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "validation_loss": 2.0}\n')  # fewer than loop.log_every
    assert counterfactuals_report.training_curves(str(tmp_path)) == ()
    with pytest.raises(ValueError, match="give the run folder of the training"):
        counterfactuals_report.training_curves(str(tmp_path / "nothing"))
