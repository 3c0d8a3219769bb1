"""Audit of the shipped model on phantoms with independent findings, where nothing should be entangled.

Program: prism eval audit
Needs: prism data build phantom --out data/phantom_balanced --preset balanced --train 16000 --val 256 --test 256
    prism data report data/phantom_balanced --out runs/phantom_balanced_report
Takes: not measured

The cohort is made first and resumes where it stopped: 64 patients per edit, and four negative controls for each
patient.
"""

from prism_jax.configs.phantom.counterfactuals import FINDINGS
from prism_jax.evaluation.audit.run import AuditRun
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, Inversion
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.judges import Judge

INVERSION = Inversion(method="edit_friendly", steps=20, guidance=1.75)
STRENGTH = dict(cross_steps=0.4, self_steps=0.4, blend=None)
JUDGES = tuple(Judge(name=name, folder=f"phantom_judges/{name}") for name in ("densenet", "convnext"))
PLACEBOS = ("repeat the caption", "say enlarged heart", "say blorkery", "say hernia")


def config() -> AuditRun:
    cohort = CounterfactualRun(
        run="runs/phantom_audit_cohort",
        title="The base model's edits, for the audit",
        model="phantom",
        data="data/phantom_balanced",
        edits=edits(),
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


def edits() -> tuple[EditSpec, ...]:
    """Every finding taken away and added, two at once; placebos: null edit, synonym, nonsense, unrelated finding."""
    edits = [f"{verb} {finding}" for verb in ("remove", "add") for finding in FINDINGS]
    edits.append("remove cardiomegaly, remove pacemaker")
    return tuple(EditSpec(edit=edit, **STRENGTH) for edit in (*edits, *PLACEBOS))
