"""Text-guided editors and structural causal models on 256 held-out phantoms with dependent attributes.

Program: prism eval benchmark
Needs: prism data build phantom --out data/phantom_128 --train 20000 --val 512 --test 512
    the trainings that its file lists
Takes: not measured as a whole; the trainings about an hour a seed on one CPU core

All are compared at the causal model's 64 pixels: at 128 the comparison would penalise its lower resolution. The editors
work at 128, on the same images. Their model was trained on phantoms with independent attributes, the causal model on
dependent ones.
    D="--data.folder data/phantom_128"
    prism train mechanisms --config phantom/mechanisms $D
    prism train predictors --config phantom64/predictors $D
    for s in 7 8 9; do
        prism train image_mechanism --config phantom64/image_mechanism_parents $D --seed $s \\
            --run runs/phantom64_parents_$s
        prism train image_mechanism --config phantom64/image_mechanism $D --seed $s \\
            --initial runs/phantom64_parents_$s/model --run runs/phantom64_scm_$s
        prism train counterfactual_finetune --config phantom64/counterfactual_finetune $D --seed $s \\
            --image runs/phantom64_scm_$s/model --run runs/phantom64_counterfactual_$s
    done
"""

import dataclasses

from prism_jax.configs.phantom.audit import INVERSION, JUDGES
from prism_jax.configs.phantom.counterfactuals import edits
from prism_jax.evaluation.benchmark.methods import Baseline, CausalModel, Editor, Strength
from prism_jax.evaluation.benchmark.run import BenchmarkRun

EDITOR = "phantom"
# Image mechanisms before and after counterfactual training, one of each seed.
LIKELIHOOD = tuple(f"runs/phantom64_scm_{seed}/model" for seed in (7, 8, 9))
COUNTERFACTUAL = tuple(f"runs/phantom64_counterfactual_{seed}/model" for seed in (7, 8, 9))
MECHANISMS = "runs/phantom_mechanisms/model"


def config() -> BenchmarkRun:
    return BenchmarkRun(
        run="runs/phantom_comparison",
        data="data/phantom_128",
        edits=edits(),
        subjects_per_edit=32,
        one_edit_per_subject=True,
        size=64,
        methods=methods(),
        judges=JUDGES,
        batch_size=16,
    )


def methods() -> tuple[Baseline | Editor | CausalModel, ...]:
    """Baselines, text editors, RadEdit with three kinds of masks, and the causal model in both modes."""
    how = lambda method: dataclasses.replace(INVERSION, method=method)
    free = Strength(cross_steps=0.0, self_steps=0.0)  # RadEdit has masks in the place of attention control
    radedit = dict(model=EDITOR, inversion=how("edit_friendly"), strength=free)
    causal = lambda mode, t_u: CausalModel(
        name=f"SCM, {mode}, t_u {t_u:g}", images=COUNTERFACTUAL, mechanisms=MECHANISMS, mode=mode, t_u=t_u
    )
    return (
        Baseline(name="do nothing", kind="do nothing"),
        Baseline(name="autoencoder only", kind="autoencoder only", model=EDITOR),
        Editor(name="edit_friendly", model=EDITOR, inversion=how("edit_friendly")),
        Editor(name="direct", model=EDITOR, inversion=how("direct")),
        Editor(name="RadEdit, true mask", mask="attribute", **radedit),
        Editor(name="RadEdit, box", mask="box", **radedit),
        Editor(name="RadEdit, predicted mask", mask="predicted", **radedit),
        dataclasses.replace(causal("surgical", 0.1), name="SCM by likelihood alone, surgical", images=LIKELIHOOD),
        causal("surgical", 0.1),
        causal("surgical", 1.0),
        causal("graph", 0.1),
        causal("graph", 1.0),
        Baseline(name="oracle, surgical", kind="oracle", mode="surgical"),
        Baseline(name="oracle, graph", kind="oracle", mode="graph"),
    )
