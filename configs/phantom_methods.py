"""All inversion methods on the 256 held-out phantoms, every finding of each taken away or added.

After the data set of configs/phantom_truth.py:
python -m eval.methods --config configs/phantom_methods.py
"""

import dataclasses

from configs.phantom_truth import INVERSION, changes
from eval.counterfactuals import CounterfactualRun
from eval.methods import MethodsRun

METHODS = ("direct", "edit_friendly", "negative_prompt", "ddim", "null_text")


def config() -> MethodsRun:
    return MethodsRun(
        run="runs/methods",
        title="Inversion methods against true counterfactuals",
        each=CounterfactualRun(
            model="prism_jax/pretrained/phantom",
            data="data/phantom_balanced",
            changes=changes(),
        ),
        methods=tuple(dataclasses.replace(INVERSION, method=method) for method in METHODS),
    )
