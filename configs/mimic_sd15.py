"""Stable Diffusion 1.5 fine-tuned on frontal X-rays of MIMIC-CXR-JPG, 512x512, for GPUs.

Half of the captions are impressions of reports, cut at a sentence to what the text encoder takes; the others come from
labels, in four wordings.

prism data build mimic_cxr --source mimic-cxr-jpg --out data/mimic_cxr --views AP PA \\
    --sections mimic_cxr_sectioned.csv --patients patients.csv.gz --admissions admissions.csv.gz
python -m train.finetune --config configs/mimic_sd15.py --model DIFFUSERS_FOLDER
prism export --run runs/mimic_sd15 --out runs/mimic_sd15/model
"""

import dataclasses

from configs import folder_sd15
from prism_jax.data.templates import PARAPHRASES, CaptionConfig
from train.examples import Data
from train.finetune import FinetuneRun


def config() -> FinetuneRun:
    captions = CaptionConfig(templates=PARAPHRASES, reports=0.5)
    return dataclasses.replace(
        folder_sd15.config(),
        run="runs/mimic_sd15",
        data=Data(folder="data/mimic_cxr", size=512, captions=captions),
    )
