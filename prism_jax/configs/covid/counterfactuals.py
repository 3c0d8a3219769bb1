"""Real X-rays inverted and edited by the model of covid/finetune; no ground truth exists for them.

Program: prism eval counterfactuals
Needs: prism train finetune --config covid/finetune
    prism export --run runs/covid_finetune --out runs/covid_model
Takes: not measured
"""

from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, Inversion
from prism_jax.evaluation.edits import EditSpec

WANTED = (
    "remove endotracheal tube",
    "add endotracheal tube",
    "set age 25",
    "set age 85",
    "set view PA",
    "set view AP",
)


def config() -> CounterfactualRun:
    return CounterfactualRun(
        run="runs/covid_edits",
        title="Real X-rays, edited",
        model="runs/covid_model",
        data="data/covid",
        edits=edits(WANTED),
        subjects_per_edit=12,
        inversion=Inversion(method="null_text", steps=20, guidance=2.0, inner_steps=10),
        training="runs/covid_finetune",
    )


def edits(named: tuple[str, ...]) -> tuple[EditSpec, ...]:
    return tuple(EditSpec(edit=edit, cross_steps=0.6, self_steps=0.6, blend=None) for edit in named)
