"""Counterfactuals of every X-ray of a folder data set, by the model of configs/folder/finetune.py, on GPUs.

After the commands there:
python -m eval.counterfactuals --config configs/folder/counterfactuals.py        # started again, it goes on where it was
srun python -m eval.counterfactuals --config configs/folder/counterfactuals.py --processes.coordinator cluster
python -m eval.counterfactuals --config configs/folder/counterfactuals.py --processes.count 8 --processes.index 3  # by hand

Pictures and masks of change go to images/, a row an edit to manifest.parquet. `--data FILE.csv` takes images that are
in no data set: a CSV with the columns path and prompt. The names of findings are those of your captions, or synonyms.
"""

import jax.numpy as jnp

from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, Inversion
from prism_jax.evaluation.edits import EditSpec

WANTED = ("remove pacemaker", "remove effusion", "remove cardiomegaly", "add effusion", "set age 80")


def config() -> CounterfactualRun:
    return CounterfactualRun(
        run="runs/folder_cohort",
        title="Counterfactuals of a folder",
        model="runs/folder_sd15/model",
        data="data/my_xrays",
        edits=tuple(EditSpec(edit=edit, blend=None) for edit in WANTED),
        inversion=Inversion(method="edit_friendly", steps=50, guidance=7.5),
        batch_size=None,  # what fits the GPU's memory
        dtype=jnp.dtype("bfloat16"),
        inversion_store="runs/folder_inversions",
    )
