"""The demo's audit: does a model that was told nothing of pacemakers draw them with an enlarged heart?

A small cohort by the model of configs/demo_silent.py, 16 patients an edit: of fewer than ten nothing is concluded. make
demo runs it; by hand, after the commands in configs/demo_silent.py:
prism data report runs/demo/data --out runs/demo/survey
python -m eval.audit --config configs/demo_audit.py
"""

from configs.phantom_audit import INVERSION, JUDGES, STRENGTH
from configs.phantom_audit_confounded import UNSAID
from eval.audit.program import AuditRun
from eval.changes import Change
from eval.counterfactuals import CounterfactualRun

EDITS = ("add cardiomegaly", "add pacemaker", "say hernia")  # the last is a placebo


def config() -> AuditRun:
    cohort = CounterfactualRun(
        run="runs/demo/audit_cohort",
        title="Edits for the demo's audit",
        model="runs/demo/silent_model",
        data="runs/demo/data",
        wording=UNSAID,
        changes=tuple(Change(edit=edit, **STRENGTH) for edit in EDITS),
        per_change=16,
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
