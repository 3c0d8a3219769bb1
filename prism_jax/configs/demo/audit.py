"""The demo's audit: does a model whose captions never mention pacemakers add them together with cardiomegaly?

Program: prism eval audit
Needs: prism train finetune --config demo/finetune_omit_pacemaker
    prism export --run runs/demo/silent --out runs/demo/silent_model
    prism data report runs/demo/data --out runs/demo/survey
Takes: 1 minute on 2 CPU cores; on a GPU not measured

16 patients per edit: with fewer than ten an audit is inconclusive. `make demo` runs it.
"""

from prism_jax.configs.phantom.audit import INVERSION, JUDGES, STRENGTH
from prism_jax.configs.phantom.audit_confounded import UNSAID
from prism_jax.evaluation.audit.run import AuditRun
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.edits import EditSpec

EDITS = ("add cardiomegaly", "add pacemaker", "say hernia")  # the last is a placebo


def config() -> AuditRun:
    cohort = CounterfactualRun(
        run="runs/demo/audit_cohort",
        title="Edits for the demo's audit",
        model="runs/demo/silent_model",
        data="runs/demo/data",
        wording=UNSAID,
        edits=tuple(EditSpec(edit=edit, **STRENGTH) for edit in EDITS),
        subjects_per_edit=16,
        inversion=INVERSION,
    )
    return AuditRun(
        run="runs/demo/audit",
        title="Side effects of the demo's edits",
        cohort=cohort.run,
        make=cohort,
        judges=JUDGES,
        survey="runs/demo/survey",
    )
