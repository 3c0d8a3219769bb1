"""The data report on real X-rays."""

from prism_jax.data_report import survey
from tests.build_dataset import build
from tests.reference.conftest import shared_folder


def test_real_x_rays_show_that_supine_views_go_with_intubation(tmp_path):
    options = {
        "path": "images/{id}.jpg",
        "patient_column": "patient_id",
        "patient_pattern": r"\d+",
        "flags": ("intubated=endotracheal tube",),
    }
    made, _ = survey.survey(build("folder", shared_folder("data", "covid-cxr"), tmp_path / "set", **options).folder)
    found = made.between("endotracheal tube", "view AP Supine")
    assert found.cells == (24, 27, 13, 76)
    assert found.odds_ratio.low > 1.5
    assert found.correlation.low > 0.05
    assert found.is_significant
    assert found.adjusted.low > 0
    assert not made.duplicates
