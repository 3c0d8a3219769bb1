"""Counterfactuals of every X-ray of a folder data set, by the model of folder/finetune.

Program: prism eval counterfactuals
Needs: prism train finetune --config folder/finetune --model DIR
    prism export --run runs/folder_sd15 --out runs/folder_sd15/model
Takes: not measured; sized for GPUs

Images and masks of change go to images/, one row for each edit to manifest.parquet. `--data FILE.csv` takes images that
are in no data set: a CSV with the columns path and prompt. Findings are named as in your captions, or by synonyms.
Started again, it resumes. Over many processes: --processes.coordinator cluster under SLURM, Open MPI or Kubernetes, or
--processes.count 8 --processes.index 3 by hand.
"""

import jax.numpy as jnp

from prism_jax.evaluation.counterfactuals.run import CounterfactualRun
from prism_jax.evaluation.edits import EditSpec

WANTED = ("remove pacemaker", "remove effusion", "remove cardiomegaly", "add effusion", "set age 80")


def config() -> CounterfactualRun:
    return CounterfactualRun(
        run="runs/folder_cohort",
        title="Counterfactuals of a folder",
        model="runs/folder_sd15/model",
        data="data/my_xrays",
        edits=tuple(EditSpec(edit=edit) for edit in WANTED),  # steps, guidance and strengths: those of the model card
        batch_size=None,  # what fits the GPU's memory
        dtype=jnp.dtype("bfloat16"),
        inversion_store="runs/folder_inversions",
    )
