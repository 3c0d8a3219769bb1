"""All inversion methods on the 256 held-out phantoms, every finding of each taken away or added.

After the data set of configs/phantom/counterfactuals.py:
python -m eval.inversion_methods --config configs/phantom/inversion_methods.py
"""

import dataclasses

from prism_jax.configs.phantom.counterfactuals import INVERSION, edits
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.inversion_methods.run import InversionMethodsRun

METHODS = ("direct", "edit_friendly", "negative_prompt", "ddim", "null_text")


def config() -> InversionMethodsRun:
    return InversionMethodsRun(
        run="runs/methods",
        title="Inversion methods against true counterfactuals",
        each=CounterfactualRun(
            model="phantom",
            data="data/phantom_balanced",
            edits=edits(),
        ),
        methods=tuple(dataclasses.replace(INVERSION, method=method) for method in METHODS),
    )
