"""All inversion methods on 256 held-out phantoms, every finding of each removed or added.

Program: prism eval benchmark
Needs: prism data build phantom --out data/phantom_balanced --preset balanced --train 16000 --val 256 --test 256
Takes: not measured
"""

import dataclasses

from prism_jax.configs.phantom.audit import JUDGES
from prism_jax.configs.phantom.counterfactuals import INVERSION, edits
from prism_jax.evaluation.benchmark.methods import Baseline, Editor
from prism_jax.evaluation.benchmark.run import BenchmarkRun

METHODS = ("direct", "edit_friendly", "negative_prompt", "ddim", "null_text")


def config() -> BenchmarkRun:
    return BenchmarkRun(
        run="runs/methods",
        title="Inversion methods against true counterfactuals",
        data="data/phantom_balanced",
        edits=edits(),
        methods=(
            Baseline(),
            *(Editor(name=method, inversion=dataclasses.replace(INVERSION, method=method)) for method in METHODS),
        ),
        judges=JUDGES,
    )
