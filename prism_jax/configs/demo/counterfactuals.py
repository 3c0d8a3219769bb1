"""The demo's evaluation: the fine-tuned model inverts and edits held-out phantoms with known ground truth.

Program: prism eval counterfactuals
Needs: prism train finetune --config demo/finetune
    prism export --run runs/demo/finetune --out runs/demo/model
Takes: 3 minutes on 2 CPU cores; on a GPU not measured

`make demo` runs it.
"""

import dataclasses

from prism_jax.configs.phantom import counterfactuals
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun


def config() -> CounterfactualRun:
    return dataclasses.replace(
        counterfactuals.config(),
        run="runs/demo",
        title="Counterfactual chest X-rays: the demo",
        model="runs/demo/model",
        data="runs/demo/data",
        subjects_per_edit=8,
        training="runs/demo/finetune",
    )
