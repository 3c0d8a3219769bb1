"""The demo's audit: does a model that was told nothing of pacemakers draw them with an enlarged heart?

A small cohort by the model of configs/demo/finetune_omit_pacemaker.py, 16 patients an edit: of fewer than ten nothing is concluded. make
demo runs it; by hand, after the commands in configs/demo/finetune_omit_pacemaker.py:
prism data report runs/demo/data --out runs/demo/survey
python -m eval.audit --config configs/demo/audit.py
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
        title="What the demo's edits take along",
        cohort=cohort.run,
        make=cohort,
        judges=JUDGES,
        survey="runs/demo/survey",
    )
