"""The demo's evaluation: the fine-tuned model inverts and edits held-out subjects, and is held against the truth.

make demo runs it; by hand, after the commands in configs/demo/finetune.py:
prism export --run runs/demo/finetune --out runs/demo/model
python -m eval.counterfactuals --config configs/demo/counterfactuals.py
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
