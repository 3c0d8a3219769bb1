"""Stable Diffusion 1.5 fine-tuned on frontal X-rays of CheXpert, 512x512, for GPUs; captions in four wordings.

prism data build chexpert --source CheXpert-v1.0 --out data/chexpert --views AP PA
python -m train.finetune --config configs/chexpert_sd15.py --model DIFFUSERS_FOLDER
prism export --run runs/chexpert_sd15 --out runs/chexpert_sd15/model
"""

import dataclasses

from configs import folder_sd15
from prism_jax.data.templates import PARAPHRASES, CaptionConfig
from train.examples import Data
from train.finetune import FinetuneRun


def config() -> FinetuneRun:
    return dataclasses.replace(
        folder_sd15.config(),
        run="runs/chexpert_sd15",
        data=Data(folder="data/chexpert", size=512, captions=CaptionConfig(templates=PARAPHRASES)),
    )
