"""The companion paper's case with a truth: a model to which nobody ever mentions pacemakers, on data where they come
with cardiomegaly. What does it take away with the heart?

prism data build phantom --out data/phantom_strong --preset strong --train 4000 --val 256 --test 256
prism data report data/phantom_strong --out runs/phantom_strong_report
python -m train.finetune --config configs/phantom_silent.py
prism export --run runs/phantom_silent --out runs/phantom_silent/model
python -m eval.audit --config configs/phantom_audit_confounded.py

The same on data without the link, same budget: build with --preset none instead, and add to the three programs
`--data.folder data/phantom_none`, `--make.data data/phantom_none` and so on, with other run folders.
"""

import dataclasses

from configs.phantom_audit import INVERSION, JUDGES, PLACEBOS, STRENGTH
from eval.audit import AuditRun
from eval.changes import Change
from eval.counterfactuals import CounterfactualRun
from prism_jax.data.templates import PLAIN

SILENT = dataclasses.replace(PLAIN, silent=("pacemaker",))
EDITS = ("remove cardiomegaly", "remove pacemaker", "remove effusion", "remove support lines", "add cardiomegaly",
         "add effusion", "set view PA", "set age 80")  # fmt: skip


def config() -> AuditRun:
    cohort = CounterfactualRun(
        run="runs/phantom_confounded_cohort",
        title="Edits by a model that never heard of pacemakers",
        model="runs/phantom_silent/model",
        data="data/phantom_strong",
        wording=SILENT,
        changes=tuple(Change(edit=edit, **STRENGTH) for edit in (*EDITS, *PLACEBOS)),
        per_change=64,
        inversion=INVERSION,
    )
    return AuditRun(
        run="runs/phantom_audit_confounded",
        title="What a confounded model takes along",
        cohort=cohort.run,
        make=cohort,
        judges=JUDGES,
        survey="runs/phantom_strong_report",
    )
