"""The folder builder on a real data set."""

import csv

import numpy as np
from PIL import Image

from prism_jax.data import transforms
from prism_jax.data.loading import pipeline
from prism_jax.data.sources import folder
from prism_jax.data.sources.folder import FolderConfig
from tests.build_dataset import build
from tests.reference.conftest import shared_folder
from tests.unit.test_folder import write_table


def test_dicom_and_tiff_files_build(tmp_path):
    pixels = np.linspace(0, 65535, 20 * 30).reshape(20, 30).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.tiff")
    name = "1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"
    (tmp_path / "b.dcm").symlink_to(shared_folder("data", "dicom", name))
    write_table(tmp_path, [("a.tiff", "p", "", "", "", ""), ("b.dcm", "q", "", "", "", "")])
    build("folder", tmp_path, tmp_path / "out", fractions=(1, 0, 0))
    first, second = pipeline.open_split(tmp_path / "out", "train")
    assert transforms.decode(first.image).shape == (20, 30)
    assert (second.attributes.age, second.attributes.view) == (62, "PA")
    assert second.spacing == (0.168, 0.168)


def test_real_x_rays_build(tmp_path):
    real = shared_folder("data", "covid-cxr")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/images").symlink_to(real / "images")
    with open(real / "metadata.csv", newline="") as file:
        header, *rows = list(csv.reader(file))
    write_table(tmp_path / "source", rows[:40], tuple(header))
    options = {
        "path": "images/{id}.jpg",
        "patient_column": "patient_id",
        "patient_pattern": r"\d+",
        "flags": ("intubated=endotracheal tube",),
    }
    made = build("folder", tmp_path / "source", tmp_path / "out", **options)
    assert (sum(made.counts.values()), made.errors) == (40, 0)
    batch = next(pipeline.batches(pipeline.open_split(tmp_path / "out", "train"), 4, size=64))
    assert np.ptp(batch["image"], axis=(1, 2, 3)).min() > 1
    table = folder.read_rows(real, FolderConfig(**options))
    assert (len(table), len({row.patient for row in table})) == (416, 237)
    assert sum(row.attributes.findings.get("endotracheal tube", False) for row in table) == 51
