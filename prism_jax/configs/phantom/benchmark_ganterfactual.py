"""GANterfactual beside the other rows, on the edits of the attribute that it was trained for.

After configs/phantom64/ganterfactual.py with --data.folder data/phantom_128, and configs/phantom/benchmark.py:
python -m eval.benchmark --config configs/phantom/benchmark_ganterfactual.py

More attributes in one row: their trainings in `models`, and their edits in `changes`.
"""

import dataclasses

from prism_jax.configs.phantom import benchmark
from prism_jax.evaluation.benchmark.methods import Translator
from prism_jax.evaluation.benchmark.run import BenchmarkRun

ATTRIBUTE = "cardiomegaly"


def config() -> BenchmarkRun:
    others = benchmark.config()
    row = Translator(name="GANterfactual", models=("runs/phantom64_ganterfactual/model",))
    return dataclasses.replace(
        others,
        run="runs/phantom_comparison_ganterfactual",
        edits=tuple(edit for edit in others.edits if edit.edit.endswith(ATTRIBUTE)),
        rows=(*others.rows, row),
    )
