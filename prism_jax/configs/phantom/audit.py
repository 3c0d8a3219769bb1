"""Audit of the shipped model on phantoms with independent findings, where nothing should be entangled.

Program: prism eval audit
Needs: prism data build phantom --out data/phantom_balanced --preset balanced --train 16000 --val 256 --test 256
    prism data report data/phantom_balanced --out runs/phantom_balanced_report
Takes: not measured

The cohort is made first and resumes where it stopped: 64 patients per edit, and four negative controls for each
patient.
"""

import dataclasses

from prism_jax.configs.phantom import counterfactuals
from prism_jax.evaluation.audit.run import AuditRun
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, Inversion
from prism_jax.evaluation.judges import Judge

INVERSION = Inversion(method="edit_friendly", steps=20, guidance=1.75)
JUDGES = tuple(Judge(name=name, folder=f"phantom_judges/{name}") for name in ("densenet", "convnext"))
# Negative controls: the null edit, a synonym, nonsense and an unrelated finding.
PLACEBOS = ("repeat the caption", "say enlarged heart", "say blorkery", "say hernia")


def config() -> AuditRun:
    cohort = CounterfactualRun(
        run="runs/phantom_audit_cohort",
        title="The base model's edits, for the audit",
        model="phantom",
        data="data/phantom_balanced",
        edits=counterfactuals.edits((*counterfactuals.EDITS, "remove cardiomegaly, remove pacemaker", *PLACEBOS)),
        subjects_per_edit=64,
        inversion=INVERSION,
    )
    return AuditRun(
        run="runs/phantom_audit",
        title="Side effects of the base model's edits",
        cohort=cohort.run,
        make=cohort,
        judges=JUDGES,
        survey="runs/phantom_balanced_report",
    )


def audit_of(cohort: CounterfactualRun, **changes: str) -> AuditRun:
    """The same audit of another cohort, with these changes."""
    return dataclasses.replace(config(), cohort=cohort.run, make=cohort, **changes)
