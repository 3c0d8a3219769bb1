"""The shipped model compared with the true counterfactuals of 64 held-out phantoms per edit.

Program: prism eval counterfactuals
Needs: prism data build phantom --out data/phantom_balanced --preset balanced --train 16000 --val 256 --test 256
Takes: not measured
"""

from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, Inversion
from prism_jax.evaluation.edits import EditSpec

FINDINGS = ("pacemaker", "cardiomegaly", "effusion", "support lines")
EDITS = tuple(f"{verb} {finding}" for verb in ("remove", "add") for finding in FINDINGS)
INVERSION = Inversion(method="null_text", steps=20, guidance=1.75, inner_steps=10)


def config() -> CounterfactualRun:
    return CounterfactualRun(
        run="runs/phantom_truth",
        title="The base model against true counterfactuals",
        model="phantom",
        data="data/phantom_balanced",
        edits=edits(),
        subjects_per_edit=64,
        inversion=INVERSION,
    )


def edits(named: tuple[str, ...] = EDITS) -> tuple[EditSpec, ...]:
    """These edits, by default every finding taken away and added; strengths as chosen on the validation split."""
    return tuple(EditSpec(edit=edit, cross_steps=0.4, self_steps=0.4, blend=None) for edit in named)
