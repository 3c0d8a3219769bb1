"""What the shipped base model draws from captions, against phantoms that it has not seen.

prism data build phantom --out data/phantom_balanced --preset balanced --train 2000 --val 64 --test 512
python -m eval.generation --config configs/phantom_generation.py
"""

from eval.generation.program import GenerationRun


def config() -> GenerationRun:
    return GenerationRun(
        run="runs/phantom_generation",
        title="Phantoms from captions alone",
        model="prism_jax/pretrained/phantom",
        data="data/phantom_balanced",
        count=512,
    )
