"""GANterfactual and the methods of phantom/benchmark, on the edits of its attribute.

Program: prism eval benchmark
Needs: all that phantom/benchmark needs
    prism train ganterfactual --config phantom64/ganterfactual --data.folder data/phantom_128
Takes: not measured

Several attributes in one method: their trainings in `models`, and their edits in `edits`.
"""

import dataclasses

from prism_jax.configs.phantom import benchmark
from prism_jax.evaluation.benchmark.methods import Translator
from prism_jax.evaluation.benchmark.run import BenchmarkRun

ATTRIBUTE = "cardiomegaly"


def config() -> BenchmarkRun:
    others = benchmark.config()
    method = Translator(name="GANterfactual", models=("runs/phantom64_ganterfactual/model",))
    return dataclasses.replace(
        others,
        run="runs/phantom_comparison_ganterfactual",
        edits=tuple(edit for edit in others.edits if edit.edit.endswith(ATTRIBUTE)),
        methods=(*others.methods, method),
    )
