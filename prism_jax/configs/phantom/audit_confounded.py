"""Audit of a model whose captions never mention the pacemaker, on data where it is correlated with cardiomegaly.

Program: prism eval audit
Needs: prism train finetune --config phantom/finetune_confounded
    prism export --run runs/phantom_confounded --out runs/phantom_confounded/model
    prism data report data/phantom_strong --out runs/phantom_strong_report
Takes: not measured

The case of arXiv 2503.23618 with a known ground truth: does removing cardiomegaly remove the pacemaker? For the model
of phantom/finetune_unconfounded, with the same budget on data without that link:
    prism data report data/phantom_none --out runs/phantom_none_report
    prism eval audit --config phantom/audit_confounded --run runs/phantom_audit_unconfounded \\
        --cohort runs/phantom_unconfounded_cohort --make.run runs/phantom_unconfounded_cohort \\
        --make.model runs/phantom_unconfounded/model --make.data data/phantom_none --survey runs/phantom_none_report
"""

import dataclasses

from prism_jax.configs.phantom import audit, counterfactuals
from prism_jax.configs.phantom.finetune_confounded import UNSAID
from prism_jax.evaluation.audit.run import AuditRun

EDITS = ("remove cardiomegaly", "remove pacemaker", "remove effusion", "remove support lines", "add cardiomegaly",
         "add effusion", "set view PA", "set age 80")  # fmt: skip


def config() -> AuditRun:
    cohort = dataclasses.replace(
        audit.config().make,
        run="runs/phantom_confounded_cohort",
        title="Edits by a model that never heard of pacemakers",
        model="runs/phantom_confounded/model",
        data="data/phantom_strong",
        wording=UNSAID,
        edits=counterfactuals.edits((*EDITS, *audit.PLACEBOS)),
        subjects_per_edit=32,
    )
    run, title = "runs/phantom_audit_confounded", "Side effects of a confounded model"
    return audit.audit_of(cohort, run=run, title=title, survey="runs/phantom_strong_report")
