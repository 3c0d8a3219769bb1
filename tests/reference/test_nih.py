"""ChestX-ray14's published table: its counts, and captions that read back."""

import time
from collections import Counter

import pytest

from prism_jax.data.captions import templates
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.sources import label_policy, nih
from prism_jax.data.sources.nih import NihConfig
from tests.reference.conftest import shared_folder

COUNTS = {
    "Infiltration": 19894,
    "Effusion": 13317,
    "Atelectasis": 11559,
    "Nodule": 6331,
    "Mass": 5782,
    "Pneumothorax": 5302,
    "Consolidation": 4667,
    "Pleural_Thickening": 3385,
    "Cardiomegaly": 2776,
    "Emphysema": 2516,
    "Edema": 2303,
    "Fibrosis": 1686,
    "Pneumonia": 1431,
    "Hernia": 227,
}


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> list:
    """Every row of the published table."""
    source, name = tmp_path_factory.mktemp("nih"), f"{nih.TABLES[0]}.gz"
    (source / name).symlink_to(shared_folder("data", "labels", name))
    start = time.process_time()
    rows = nih.read_rows(source, NihConfig())
    assert time.process_time() - start < 20  # of this process, whatever else the machine does
    return rows


def test_the_published_table_is_read_with_its_counts(full):
    assert (len(full), len({row.patient for row in full})) == (112120, 30805)
    found = Counter(item for row in full for item in row.attributes.findings.items())
    assert found == {(name, True): count for name, count in COUNTS.items()} | {(label_policy.FINDING, False): 60361}
    known = [row.attributes for row in full]
    assert Counter(one.sex for one in known) == {"M": 63340, "F": 48780}
    assert Counter(one.view for one in known) == {"PA": 67310, "AP": 44810}


def test_children_of_the_published_table_keep_their_age(full):
    ages = [row.attributes.age for row in full]
    assert (min(ages), max(ages), ages.count(0), sum(age < 18 for age in ages)) == (0, 95, 14, 5402)


def test_every_row_has_a_caption_that_reads_back(full):
    assert all(PLAIN.parse(PLAIN.describe(row.attributes)) == PLAIN.stated(row.attributes) for row in full)


@pytest.mark.parametrize("template", [*templates.PARAPHRASES, templates.PRISM])
def test_every_wording_of_a_row_reads_back(full, template):
    known = [row.attributes for row in full[::20]]
    assert all(template.parse(template.describe(one)) == template.stated(one) for one in known)
