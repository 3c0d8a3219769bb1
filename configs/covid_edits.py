"""Real X-rays inverted and edited by the model of configs/covid_finetune.py; no truth is known for them.

prism export --run runs/covid_finetune --out runs/covid_model
python -m eval.counterfactuals --config configs/covid_edits.py
"""

from eval.changes import Change
from eval.counterfactuals import CounterfactualRun, Inversion

WANTED = (
    ("endotracheal tube", False),
    ("endotracheal tube", True),
    ("age", 25.0),
    ("age", 85.0),
    ("view", "PA"),
    ("view", "AP"),
)


def config() -> CounterfactualRun:
    strength = dict(cross_steps=0.4, self_steps=0.4, blend=None)
    return CounterfactualRun(
        run="runs/covid_edits",
        title="Real X-rays, edited",
        model="runs/covid_model",
        data="data/covid",
        changes=tuple(Change(attribute=name, value=value, **strength) for name, value in WANTED),
        per_change=12,
        inversion=Inversion(method="null_text", steps=20, guidance=3.0, inner_steps=10),
        training="runs/covid_finetune",
    )
