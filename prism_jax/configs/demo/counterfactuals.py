"""The demo's evaluation: the fine-tuned model inverts and edits held-out phantoms with known ground truth.

Program: prism eval counterfactuals
Needs: prism train finetune --config demo/finetune
    prism export --run runs/demo/finetune --out runs/demo/model
Takes: 3 minutes on 2 CPU cores; on a GPU not measured

`make demo` runs it.
"""

from prism_jax.configs.phantom.counterfactuals import INVERSION, edits
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun


def config() -> CounterfactualRun:
    return CounterfactualRun(
        run="runs/demo",
        title="Counterfactual chest X-rays: the demo",
        model="runs/demo/model",
        data="runs/demo/data",
        edits=edits(),
        subjects_per_edit=8,
        inversion=INVERSION,
        training="runs/demo/finetune",
    )
