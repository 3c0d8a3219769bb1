"""Real X-rays inverted and edited by the model of configs/covid_finetune.py; no truth is known for them.

prism export --run runs/covid_finetune --out runs/covid_model
python -m eval.counterfactuals --config configs/covid_edits.py
"""

from configs.phantom_truth import INVERSION
from eval.changes import Change
from eval.counterfactuals import CounterfactualRun


def config() -> CounterfactualRun:
    return CounterfactualRun(
        run="runs/covid_edits",
        title="Real X-rays, edited",
        model="runs/covid_model",
        data="data/covid",
        changes=(
            Change(attribute="endotracheal tube", value=False),
            Change(attribute="endotracheal tube", value=True),
            Change(attribute="age", value=25.0, blend=None),
            Change(attribute="age", value=85.0, blend=None),
            Change(attribute="view", value="PA", blend=None),
            Change(attribute="view", value="AP", blend=None),
        ),
        per_change=12,
        inversion=INVERSION,
        training="runs/covid_finetune",
    )
