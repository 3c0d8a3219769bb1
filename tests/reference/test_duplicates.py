"""Near duplicates among real X-rays."""

import numpy as np
from PIL import Image

from prism_jax.data import transforms
from prism_jax.data_report import duplicates
from tests.reference.conftest import shared_folder
from tests.unit.test_duplicates import recompressed


def test_no_two_of_the_real_x_rays_pass_for_copies_and_each_is_found_again():
    real = shared_folder("data", "covid-cxr")
    files = sorted((real / "images").iterdir())[:60]
    pixels = [transforms.decode(file.read_bytes()) for file in files]
    changed = [recompressed(np.asarray(Image.fromarray(one).reduce(2))) for one in pixels]
    prints = np.stack([duplicates.fingerprint(one) for one in (*pixels, *changed)])
    assert [pair[:2] for pair in duplicates.near(prints, 0.95)] == [(i, 60 + i) for i in range(60)]
