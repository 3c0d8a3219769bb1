"""What the shipped base model draws from captions, against phantoms that it has not seen.

After the data set of configs/phantom/counterfactuals.py:
python -m eval.generation --config configs/phantom/generation.py
"""

from prism_jax.evaluation.generation.run import GenerationRun


def config() -> GenerationRun:
    return GenerationRun(
        run="runs/phantom_generation",
        title="Phantoms from captions alone",
        model="phantom",
        data="data/phantom_balanced",
    )
