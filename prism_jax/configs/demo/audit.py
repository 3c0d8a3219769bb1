"""The demo's audit: does a model whose captions never mention pacemakers add them together with cardiomegaly?

Program: prism eval audit
Needs: prism train finetune --config demo/finetune_omit_pacemaker
    prism export --run runs/demo/silent --out runs/demo/silent_model
    prism data report runs/demo/data --out runs/demo/survey
Takes: 1 minute on 2 CPU cores; on a GPU not measured

16 patients per edit: with fewer than ten an audit is inconclusive. `make demo` runs it.
"""

import dataclasses

from prism_jax.configs.phantom import audit, audit_confounded, counterfactuals
from prism_jax.evaluation.audit.run import AuditRun

EDITS = ("add cardiomegaly", "add pacemaker", "say hernia")  # the last is a placebo


def config() -> AuditRun:
    cohort = dataclasses.replace(
        audit_confounded.config().make,
        run="runs/demo/audit_cohort",
        title="Edits for the demo's audit",
        model="runs/demo/silent_model",
        data="runs/demo/data",
        edits=counterfactuals.edits(EDITS),
        subjects_per_edit=16,
    )
    title = "Side effects of the demo's edits"
    return audit.audit_of(cohort, run="runs/demo/audit", title=title, survey="runs/demo/survey")
