"""Images that the shipped model samples from captions, compared with phantoms that it has not seen.

Program: prism eval generation
Needs: prism data build phantom --out data/phantom_balanced --preset balanced --train 16000 --val 256 --test 256
Takes: not measured
"""

from prism_jax.evaluation.generation.run import GenerationRun


def config() -> GenerationRun:
    return GenerationRun(
        run="runs/phantom_generation",
        title="Phantoms from captions alone",
        data="data/phantom_balanced",
    )
