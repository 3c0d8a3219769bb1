"""All inversion methods on 256 held-out phantoms, every finding of each removed or added.

Program: prism eval inversion_methods
Needs: prism data build phantom --out data/phantom_balanced --preset balanced --train 16000 --val 256 --test 256
Takes: not measured
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
