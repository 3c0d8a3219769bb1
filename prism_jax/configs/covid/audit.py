"""Audit of edits of intubation, view and age on real X-rays; with few patients, so that many cells are inconclusive.

Program: prism eval audit
Needs: prism eval counterfactuals --config covid/counterfactuals
    prism train classifier --config covid/classifier
    prism train classifier --config covid/classifier_second
    prism data report data/covid --out runs/covid_report
Takes: not measured
"""

from prism_jax.configs.covid.counterfactuals import WANTED, edits
from prism_jax.evaluation.audit.run import AuditRun
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, Inversion
from prism_jax.evaluation.judges import Judge

PLACEBOS = ("repeat the caption", "say breathing tube", "say blorkery", "say hernia")


def config() -> AuditRun:
    cohort = CounterfactualRun(
        run="runs/covid_audit_cohort",
        title="Real X-rays, edited for the audit",
        model="runs/covid_model",
        data="data/covid",
        edits=edits((*WANTED, *PLACEBOS)),
        inversion=Inversion(method="edit_friendly", steps=20, guidance=2.0),
    )
    return AuditRun(
        run="runs/covid_audit",
        title="Side effects of edits of real X-rays",
        cohort=cohort.run,
        make=cohort,
        judges=(
            Judge(name="densenet", folder="runs/covid_classifier/model"),
            Judge(name="convnext", folder="runs/covid_classifier_second/model"),
        ),
        survey="runs/covid_report",
    )
