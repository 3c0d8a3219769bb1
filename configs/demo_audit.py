"""The demo's audit: does the fine-tuned model take the pacemaker away with an enlarged heart?

Its own small cohort, whose captions say nothing of pacemakers: what becomes of them is up to the model. 32 patients an
edit, because with twelve the link that the data hold stayed open. make demo runs it; by hand, after the commands in
configs/demo_finetune.py:
prism data report runs/demo/data --out runs/demo/survey
python -m eval.audit --config configs/demo_audit.py
"""

from configs.phantom_audit import INVERSION, JUDGES, STRENGTH
from configs.phantom_audit_confounded import UNSAID
from eval.audit.program import AuditRun
from eval.changes import Change
from eval.counterfactuals import CounterfactualRun

EDITS = ("remove cardiomegaly", "remove pacemaker", "say hernia")  # the last is a placebo


def config() -> AuditRun:
    cohort = CounterfactualRun(
        run="runs/demo/audit_cohort",
        title="Edits for the demo's audit",
        model="runs/demo/model",
        data="runs/demo/data",
        wording=UNSAID,
        changes=tuple(Change(edit=edit, **STRENGTH) for edit in EDITS),
        per_change=32,
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
