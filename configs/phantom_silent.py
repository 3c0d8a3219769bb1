"""The base model on strongly confounded phantoms, with captions that never mention the pacemaker.

For configs/phantom_audit_confounded.py, which says what to build first:
python -m train.finetune --config configs/phantom_silent.py
"""

from configs.phantom_audit_confounded import SILENT
from prism_jax.data.templates import CaptionConfig
from train.examples import Data
from train.finetune import FinetuneRun
from train.loop import LoopConfig
from train.optimizer import OptimizerConfig
from train.watching import Validation


def config() -> FinetuneRun:
    return FinetuneRun(
        run="runs/phantom_silent",
        model="prism_jax/pretrained/phantom",
        data=Data(folder="data/phantom_strong", size=128, captions=CaptionConfig(templates=(SILENT,))),
        batch_size=16,
        ema_decay=0.995,
        optimizer=OptimizerConfig(peak=2e-4, warmup=50, decay="cosine", final=0.05, weight_decay=0.01),
        loop=LoopConfig(steps=1000, log_every=50, checkpoint_every=250),
        validation=Validation(every=250, limit=128),
    )
