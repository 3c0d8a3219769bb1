"""GANterfactual beside the other rows, on the edits of the attribute that it was trained for.

After configs/phantom64_ganterfactual.py with --data.folder data/phantom_128, and configs/phantom_comparison.py:
python -m eval.comparison --config configs/phantom_comparison_ganterfactual.py

More attributes in one row: their trainings in `models`, and their edits in `changes`.
"""

import dataclasses

from configs import phantom_comparison
from eval.comparison.program import ComparisonRun
from eval.comparison.rows import Translator

ATTRIBUTE = "cardiomegaly"


def config() -> ComparisonRun:
    others = phantom_comparison.config()
    row = Translator(name="GANterfactual", models=("runs/phantom64_ganterfactual/model",))
    return dataclasses.replace(
        others,
        run="runs/phantom_comparison_ganterfactual",
        changes=tuple(change for change in others.changes if change.edit.endswith(ATTRIBUTE)),
        rows=(*others.rows, row),
    )
