"""The companion paper's case with a truth: a model to which nobody ever mentions pacemakers, on data where they come
with cardiomegaly. What does it take away with the heart?

After the commands in configs/phantom/finetune_confounded.py:
prism data report data/phantom_strong --out runs/phantom_strong_report
python -m eval.audit --config configs/phantom/audit_confounded.py

The model of configs/phantom/finetune_unconfounded.py, same budget, on data without that link:
prism data report data/phantom_none --out runs/phantom_none_report
python -m eval.audit --config configs/phantom/audit_confounded.py --run runs/phantom_audit_unconfounded \\
    --cohort runs/phantom_unconfounded_cohort --make.run runs/phantom_unconfounded_cohort \\
    --make.model runs/phantom_unconfounded/model --make.data data/phantom_none --survey runs/phantom_none_report
"""

from prism_jax.configs.phantom.audit import INVERSION, JUDGES, PLACEBOS, STRENGTH
from prism_jax.configs.phantom.finetune_confounded import UNSAID
from prism_jax.evaluation.audit.run import AuditRun
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.edits import EditSpec

EDITS = ("remove cardiomegaly", "remove pacemaker", "remove effusion", "remove support lines", "add cardiomegaly",
         "add effusion", "set view PA", "set age 80")  # fmt: skip


def config() -> AuditRun:
    cohort = CounterfactualRun(
        run="runs/phantom_confounded_cohort",
        title="Edits by a model that never heard of pacemakers",
        model="runs/phantom_confounded/model",
        data="data/phantom_strong",
        wording=UNSAID,
        edits=tuple(EditSpec(edit=edit, **STRENGTH) for edit in (*EDITS, *PLACEBOS)),
        subjects_per_edit=32,
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
