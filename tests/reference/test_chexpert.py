"""CheXpert's published table: its counts, and captions that read back."""

import time
from collections import Counter

import pytest

from prism_jax.data.captions import templates
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.sources import chexpert
from prism_jax.data.sources.chexpert import ChexpertConfig
from prism_jax.data.sources.ingest import IngestConfig
from tests.reference.conftest import shared_folder

# present, absent, uncertain; "finding" is No Finding
COUNTS = {
    "finding": (0, 22381, 0),
    "Enlarged Cardiomediastinum": (10798, 21638, 12403),
    "Cardiomegaly": (27000, 11116, 8087),
    "Lung Opacity": (105581, 6599, 5598),
    "Lung Lesion": (9186, 1270, 1488),
    "Edema": (52246, 20726, 12984),
    "Consolidation": (14783, 28097, 27742),
    "Pneumonia": (6039, 2799, 18770),
    "Atelectasis": (33376, 1328, 33739),
    "Pneumothorax": (19448, 56341, 3145),
    "Pleural Effusion": (86187, 35396, 11628),
    "Pleural Other": (3523, 316, 2653),
    "Fracture": (9040, 2512, 642),
    "Support Devices": (116001, 6137, 1079),
}


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> list:
    """Every row of the published table."""
    source = tmp_path_factory.mktemp("chexpert")
    (source / "train.csv.gz").symlink_to(shared_folder("data", "labels", "chexpert_train.csv.gz"))
    start = time.process_time()
    rows = chexpert.read_rows(source, ChexpertConfig())
    assert time.process_time() - start < 20  # of this process, whatever else the machine does
    return rows


def test_the_published_table_is_read_with_its_counts(full):
    assert len(full) == 223414
    assert len({row.patient for row in full}) == 64540
    assert len({row.study for row in full}) == 187641
    found = Counter(item for row in full for item in row.attributes.findings.items())
    assert {name: tuple(found[name, state] for state in (True, False, None)) for name in COUNTS} == COUNTS
    assert {name for name, _ in found} == set(COUNTS)


def test_ages_sexes_and_views_of_the_published_table(full):
    known = [row.attributes for row in full]
    assert Counter(one.view for one in known) == {"AP": 161590, "PA": 29420, "lateral": 32387, None: 17}
    assert Counter(one.sex for one in known) == {"M": 132636, "F": 90777, None: 1}
    ages = Counter(one.age for one in known)
    assert (ages[None], ages[0], ages[90], max(filter(None, ages))) == (3, 0, 7579, 90)


def test_normal_is_said_of_no_other_row_than_those_of_no_finding(full):
    texts = [templates.PRISM.describe(row.attributes) for row in full]
    assert sum("No Finding" in text for text in texts) == 22381
    without = sum(not any(state for state in row.attributes.findings.values()) for row in full)
    assert without == 22381 - 8808 + 11141  # normal without devices, and not normal


def test_every_row_has_a_caption_that_reads_back(full):
    assert all(PLAIN.parse(PLAIN.describe(row.attributes)) == PLAIN.stated(row.attributes) for row in full)


@pytest.mark.parametrize("template", [*templates.PARAPHRASES, templates.PRISM])
def test_every_wording_of_a_row_reads_back(full, template):
    known = [row.attributes for row in full[::20]]
    assert all(template.parse(template.describe(one)) == template.stated(one) for one in known)


def test_splits_of_the_published_patients_follow_the_fractions(full):
    splits = {row.patient: row.split for row in full}
    assert all(splits[row.patient] == row.split for row in full)
    shares = Counter(splits.values())
    for split, share in zip(("train", "val", "test"), IngestConfig().fractions, strict=True):
        assert shares[split] / len(splits) == pytest.approx(share, abs=0.01)
