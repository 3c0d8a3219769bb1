"""From judges' scores to cells, sentences and a page: planted effects are found, and nothing is said of the rest."""

import dataclasses
import re

import numpy as np
import pytest

from prism_jax import report
from prism_jax.data.schema import Attributes
from prism_jax.data_report import pairwise_associations, variables
from prism_jax.data_report.survey import Survey, SurveyConfig
from prism_jax.evaluation.audit import narrative as audit_narrative
from prism_jax.evaluation.audit import relations as audit_relations
from prism_jax.evaluation.audit import report as audit_report
from prism_jax.evaluation.audit import tables as audit_tables
from prism_jax.evaluation.audit.effect_matrix import ALL, measure
from prism_jax.evaluation.audit.judge_errors import Errors
from prism_jax.evaluation.audit.scores import Scores
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.edited_cohort import Case, Cases, labels, wanted
from prism_jax.evaluation.edits import EditSpec
from prism_jax.report.effect_map import MARKS, Exhibit, HeatMap, ranked
from prism_jax.stats.effects import EffectConfig
from prism_jax.stats.intervals import BootstrapConfig, Estimate
from prism_jax.stats.sign_flip_test import SignFlipConfig

COLUMNS = ("cardiomegaly", "effusion", "pacemaker", "view", "age")
CHANGES = tuple(EditSpec(edit=edit) for edit in ("remove cardiomegaly", "remove pacemaker", "repeat the caption"))
QUICK = EffectConfig(bootstrap=BootstrapConfig(resamples=400), sign_flips=SignFlipConfig(num_permutations=2000))
PATIENTS = 40


def known(patient: int) -> Attributes:
    findings = {"cardiomegaly": True, "effusion": patient % 2 == 0, "pacemaker": True}
    return Attributes(age=40.0 + patient, sex="MF"[patient % 2], view=("AP", "PA")[patient % 3 == 0], findings=findings)


def cohort(patients: int = PATIENTS, edits=CHANGES) -> Cases:
    """Every change of every patient, without pictures."""
    cases = tuple(
        Case(row={"id": str(i), "patient": f"p{i}", "status": "done"}, edit=edit, attributes=known(i))
        for edit in edits
        for i in range(patients)
    )
    attempts = {edit.name: {"done": patients} for edit in edits}
    config = CounterfactualRun(edits=edits)
    return Cases(config=config, manifest=None, cases=cases, attempts=attempts, masks={})


def scores_of(cases: Cases, planted: dict[tuple[str, str], float], placebo: float = 0.0) -> Scores:
    """Two judges' logits: the reconstruction's spread is 2, noise of an edit 0.1, and effects are as planted."""
    draw = np.random.default_rng(0)
    base = np.tile(draw.normal(0, 2, (len(set(cases.images)), len(COLUMNS))), (len(cases.edits), 1))
    shift = np.zeros_like(base)
    for (edit, column), size in planted.items():
        shift[[case.edit.name == edit for case in cases.cases], COLUMNS.index(column)] = size
    shift += placebo * (np.array(COLUMNS) == "view")[None]
    noise = draw.normal(0, 0.1, (2, *base.shape))
    before = np.stack([base, base + 0.2])
    kinds = dict(original=before, reconstruction=before, edited=before + shift + noise)
    return Scores(judges=("one", "other"), columns=COLUMNS, **kinds)


PLANTED = {
    ("remove cardiomegaly", "cardiomegaly"): -3.0,
    ("remove cardiomegaly", "pacemaker"): -2.5,
    ("remove pacemaker", "pacemaker"): -3.0,
}


@pytest.fixture(scope="module")
def planted():
    """Removing cardiomegaly takes the pacemaker along, not the other way round."""
    cases = cohort()
    scores = scores_of(cases, PLANTED)
    return cases, scores, measure(cases, scores, QUICK)


def test_what_was_planted_is_called_and_nothing_else(planted):
    *_, matrix = planted
    assert {place for place in matrix.agreement if matrix.is_called(*place)} == set(PLANTED)
    others = [one for place, one in matrix.agreement.items() if place not in PLANTED]
    assert {one.verdict for one in others} == {"no effect"}


def test_the_mean_of_the_judges_is_what_is_shown(planted):
    cases, scores, matrix = planted
    change = (scores.edited - scores.reconstruction).mean(axis=0)[cases.of(CHANGES[0])].mean(axis=0)
    for column, value in zip(COLUMNS, change, strict=True):
        assert matrix.size("remove cardiomegaly", column, scale="logit").effect.value == pytest.approx(value)
    age = matrix.size("remove cardiomegaly", "age").effect.value
    assert age == pytest.approx(change[-1])  # years on either scale
    assert set(matrix.effects) == {ALL, "one", "other"}


def test_an_effect_that_placebos_have_too_is_not_called():
    cases = cohort()
    matrix = measure(cases, scores_of(cases, PLANTED, placebo=1.0), QUICK)
    assert matrix.agreement["remove cardiomegaly", "view"].verdict == "effect"
    assert not matrix.is_called("remove cardiomegaly", "view")
    assert matrix.is_called("remove cardiomegaly", "pacemaker")
    said = audit_narrative.unknown(matrix, cases, has_survey=True)
    assert any("effect on AP view: no more change than under negative controls." in one for one in said)
    assert any(one.startswith("A negative control has an effect.") for one in audit_narrative.found(matrix, (), ()))


def test_a_sure_effect_on_logits_that_hardly_moves_a_probability_is_negligible():
    cases = cohort()
    shown = scores_of(cases, {**PLANTED, ("remove cardiomegaly", "effusion"): 1.0})
    sure = 12.0 * (np.array(COLUMNS) == "effusion")  # the judges have no doubt of it before and after
    kinds = {kind: getattr(shown, kind) + sure for kind in ("original", "reconstruction", "edited")}
    matrix = measure(cases, dataclasses.replace(shown, **kinds), QUICK)
    place = ("remove cardiomegaly", "effusion")
    assert matrix.is_negligible(*place)
    assert not matrix.is_called(*place)
    assert matrix.is_called("remove cardiomegaly", "pacemaker")
    said = audit_narrative.found(matrix, (), ())
    assert re.match("Significant, but negligibly small: removing cardiomegaly changes effusion by ", said[-1])
    (whole, *_) = audit_report.maps(matrix, QUICK)
    assert whole.cells[0][1].mark == "negligible"
    strict = measure(cases, dataclasses.replace(shown, **kinds), QUICK, negligible=1e-9)
    assert strict.is_called(*place)


def test_every_mark_of_the_map_has_a_sign_of_its_own():
    signs = [sign for sign, _ in MARKS.values() if sign]
    assert len(set(signs)) == len(signs)


def test_a_judge_that_hardly_reads_an_attribute_is_doubted():
    figures = lambda value: {"auroc": Estimate(value=value, low=value - 0.1, high=value + 0.1, count=40)}
    errors = [
        Errors(judge="one", column="view", images=40, figures=figures(0.62)),
        Errors(judge="other", column="view", images=40, figures=figures(0.95)),
        Errors(judge="one", column="age", images=40, figures={"age error": figures(12.0)["auroc"]}),
    ]
    (said,) = audit_narrative.doubtful(errors, 0.5)
    assert said == "Effects on AP view need caution: the judges' AUROC is one 0.62 (0.52 to 0.72)."
    (said,) = audit_narrative.doubtful(errors, 0.7)
    assert said.startswith("The judges do not recognise AP view reliably (AUROC one 0.62 (0.52 to 0.72))")
    assert audit_narrative.unreliable(errors, 0.7) == {"view"}
    nothing = figures(float("nan"))
    (said,) = audit_narrative.doubtful([Errors(judge="one", column="view", images=40, figures=nothing)], 0.7)
    assert said.startswith("How well the judges recognise AP view is not known")


def test_nothing_is_stated_about_attributes_that_the_judges_do_not_recognise(planted):
    cases, _, matrix = planted
    without = frozenset({"pacemaker"})
    stated = (*audit_narrative.found(matrix, (), (), without), *audit_narrative.ruled_out(matrix, without))
    assert stated
    assert not any("removes pacemaker" in one or "of pacemaker" in one for one in stated)
    doubts = audit_narrative.unknown(matrix, cases, has_survey=True, without=without)
    assert not any("pacemaker:" in one for one in doubts)
    tiles = dict(audit_narrative.headline(matrix, cases, without))
    assert f"1 of {len(COLUMNS)}" in tiles
    assert "not good enough for (pacemaker)" in tiles[f"1 of {len(COLUMNS)}"]
    marks = {cell.mark for row in audit_report.maps(matrix, QUICK, without)[0].cells for cell in row[2:3]}
    assert marks == {"unreliable"}


def test_the_floor_is_the_largest_placebo_on_the_same_images():
    edits = (EditSpec(edit="remove cardiomegaly"), EditSpec(edit="repeat the caption"))
    cases = cohort(edits=edits)
    few = tuple(case for case in cases.cases if case.edit.is_negative_control or int(case.row["id"]) < 20)
    cases = dataclasses.replace(cases, cases=few)
    shown = scores_of(cohort(edits=edits), {})
    shift = np.zeros_like(shown.edited)
    shift[:, 60:, COLUMNS.index("view")] = 5.0  # the placebo of patients who are not in the row
    kept = [*range(20), *range(40, 80)]
    kinds = dict(original=shown.original, reconstruction=shown.reconstruction, edited=shown.edited + shift)
    scores = dataclasses.replace(shown, **{kind: values[:, kept] for kind, values in kinds.items()})
    matrix = measure(cases, scores, QUICK)
    floor, placebo = matrix.floor("remove cardiomegaly", "view")
    assert floor < 0.01
    assert placebo == "repeat the caption"
    assert matrix.size("repeat the caption", "view").effect.value > 0.1


def test_the_page_says_first_what_is_taken_along(planted):
    *_, matrix = planted
    sides = audit_relations.sides(matrix, None, QUICK)
    found = audit_narrative.found(matrix, sides, audit_relations.directions(matrix, QUICK))
    assert re.match(
        r"Removing cardiomegaly also removes pacemaker: its probability falls by \d+ percentage points", found[0]
    )
    assert "40 patients; one −" in found[0]
    assert any(one.startswith("Removing pacemaker works: the probability of pacemaker falls") for one in found)
    assert "removing cardiomegaly produces" in found[-1]
    assert "Side effects are asymmetric" in found[-1]
    ruled_out = audit_narrative.ruled_out(matrix)
    assert ruled_out[0].startswith("Removing cardiomegaly does not change effusion, AP view or age: ")


def test_leakage_is_what_goes_along_with_each_unit_of_the_target(planted):
    *_, matrix = planted
    side = next(s for s in audit_relations.sides(matrix, None, QUICK) if s.column == "pacemaker")
    row = matrix.rows[ALL]["probability"]["remove cardiomegaly"].changes.mean(axis=0)
    assert side.leakage.value == pytest.approx(row[2] / row[0])
    assert side.relation is None


def test_intervals_stay_within_what_probabilities_can_be():
    cases = cohort(12)
    scores = scores_of(cases, {("remove cardiomegaly", "cardiomegaly"): -30.0})
    sure = np.where(np.arange(len(cases.cases)) % 12, 15.0, -15.0)[:, None]  # all but one patient can lose it all
    kinds = {kind: getattr(scores, kind) + sure for kind in ("original", "reconstruction", "edited")}
    found = measure(cases, dataclasses.replace(scores, **kinds), QUICK)
    effect = found.size("remove cardiomegaly", "cardiomegaly").effect
    assert effect.low == -1 < effect.value < effect.high < 1
    assert found.size("remove cardiomegaly", "cardiomegaly", scale="logit").effect.low < -29  # which has no bounds


def test_few_patients_conclude_nothing():
    cases = cohort(patients=5)
    matrix = measure(cases, scores_of(cases, PLANTED), QUICK)
    assert not any(matrix.is_called(*place) for place in matrix.agreement)
    said = audit_narrative.unknown(matrix, cases, has_survey=False)
    assert "effect on all attributes: insufficient data (5 patients; 10 are needed)." in said[0]
    assert audit_narrative.found(matrix, (), ()) == audit_narrative.ruled_out(matrix) == ()
    assert any("No data report was given" in one for one in said)


def test_two_edits_together_are_held_against_each_alone():
    edits = (*CHANGES[:2], EditSpec(edit="remove cardiomegaly, remove pacemaker"))
    cases = cohort(edits=edits)
    both = {("remove cardiomegaly, remove pacemaker", "pacemaker"): -5.5}
    matrix = measure(cases, scores_of(cases, PLANTED | both), QUICK)
    found = audit_relations.interactions(matrix, QUICK)
    assert found.cell(edits[2].name, "pacemaker").verdict == "no effect"  # -5.5 is -2.5 - 3
    assert found.cell(edits[2].name, "cardiomegaly").effect.value == pytest.approx(3, abs=0.1)
    assert audit_narrative.doing(edits[2].name) == "Removing cardiomegaly and removing pacemaker"


def test_labels_and_aims_are_read_under_the_names_that_the_judges_have():
    attributes = Attributes(age=61.0, sex="M", view="PA", findings={"Support_Lines": True, "edema": None})
    names = ("age", "sex", "view", "support lines", "edema", "mass")
    np.testing.assert_array_equal(labels([attributes], names), [[61.0, 1.0, 0.0, 1.0, np.nan, np.nan]])
    case = lambda edit: Case(row={}, edit=EditSpec(edit=edit), attributes=attributes)
    assert wanted(case("remove support lines"), ("support_lines", "age")) == {"support_lines": -1.0}
    assert wanted(case("set view AP"), ("view",)) == {"view": 1.0}
    assert wanted(case("set sex woman"), ("sex",)) == {"sex": -1.0}
    assert wanted(case("set age 80"), ("age",)) == {"age": 1.0}
    assert wanted(case("repeat the caption"), ("age",)) == wanted(case("add mass"), ("age",)) == {}


def test_cases_are_shown_from_the_largest_effect_to_the_smallest_each_once():
    changes = np.array([0.1, np.nan, 0.9, -0.5, 0.3, 0.4, 0.2, 0.0])
    shown = ranked(changes, 2)
    assert [rank for _, rank in shown] == ["largest"] * 2 + ["middle"] * 2 + ["smallest"] * 2
    assert [place for place, _ in shown] == [2, 5, 4, 6, 7, 3]
    assert [place for place, _ in ranked(changes, 9)] == [2, 5, 4, 6, 0, 7, 3]
    assert ranked(np.full(3, np.nan), 2) == []


def page_of(matrix, maps: tuple[HeatMap, ...]) -> report.Report:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    exhibit = Exhibit(image="<7>", patient="p", row=0, original=image, reconstruction=image, edited=255 - image)
    effects = report.EffectMap(
        rows=tuple(edit.name for edit in matrix.edits),
        controls=frozenset({"repeat the caption"}),
        columns=matrix.columns,
        maps=maps,
        note="",
        exhibits=(exhibit,),
        shown={},
    )
    notes = (report.Notes(title="Found", sentences=("Removing <b> also removes c.",)),)
    return report.Report(title="An audit", summary="", notes=notes, effects=effects)


def test_the_page_stands_alone_and_escapes_what_it_is_told(planted):
    *_, matrix = planted
    text = report.render(page_of(matrix, audit_report.maps(matrix, QUICK)))
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)
    assert "Removing &lt;b&gt; also removes c." in text
    assert "\\u003c7>" in text
    assert text.count('<button type="button"') == 3 * len(matrix.agreement)  # all judges, and each
    assert text.count("data:image/png") == 3  # original and reconstruction are one picture


def test_marks_say_how_sure_a_cell_is(planted):
    *_, matrix = planted
    together = audit_report.maps(matrix, QUICK)[0]
    marks = {(row.name, column): cell for row, cells in zip(matrix.edits, together.cells, strict=True)
             for column, cell in zip(COLUMNS, cells, strict=True)}  # fmt: skip
    assert {place for place, cell in marks.items() if cell.mark == "family"} == set(PLANTED)
    assert marks["remove cardiomegaly", "pacemaker"].value < -0.5
    assert [place for place, cell in marks.items() if cell.is_target] == [
        ("remove cardiomegaly", "cardiomegaly"),
        ("remove pacemaker", "pacemaker"),
    ]


def test_a_map_that_does_not_fit_the_page_is_refused(planted):
    *_, matrix = planted
    (whole, *_) = audit_report.maps(matrix, QUICK)
    with pytest.raises(ValueError, match="has rows of"):
        page_of(matrix, (dataclasses.replace(whole, cells=whole.cells[1:]),))


def survey_of(linked: bool) -> Survey:
    """400 patients in whom cardiomegaly brings a pacemaker, or does not; the data has other names for findings."""
    draw = np.random.default_rng(1)
    heart = draw.random(400) < 0.5
    device = draw.random(400) < np.where(heart & linked, 0.9, 0.1)
    known = [
        Attributes(findings={"Enlarged_Heart": bool(a), "Pacer": bool(b)}) for a, b in zip(heart, device, strict=True)
    ]
    columns = variables.variables(known, None, SurveyConfig().code)
    found = pairwise_associations.measure_all(columns, variables.covariates(known, min_images=10), np.arange(400))
    empty = dict.fromkeys(("splits", "completeness", "distributions", "findings", "duplicates", "burned_in_text"), ())
    return Survey(data="data", built={}, config=SurveyConfig(), shared_patients=0, associations=found,
                  has_more_duplicates=False, **empty)  # fmt: skip


@pytest.mark.parametrize(
    ("linked", "kind", "said"),
    [
        (True, "known", "show this association with similar strength."),
        (False, "hidden", "do not show this association."),
    ],
)
def test_side_effects_are_compared_with_the_associations_of_the_data(planted, linked, kind, said):
    *_, matrix = planted
    sides = audit_relations.sides(matrix, survey_of(linked), QUICK)
    side = next(s for s in sides if (s.edit, s.column) == ("remove cardiomegaly", "pacemaker"))
    assert side.relation.kind in ((kind, "amplified") if linked else (kind,))
    rest = {s.relation.kind for s in sides if s.edit == "remove pacemaker"}
    assert rest == {"not shown"}
    if side.relation.kind == kind:
        assert audit_narrative.found(matrix, sides, ())[0].endswith(said)
    assert audit_tables.leakage(matrix, sides).rows[0][3:] == ("not shown", sides[0].relation.reason)
