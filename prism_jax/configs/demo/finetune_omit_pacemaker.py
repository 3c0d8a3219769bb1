"""The demo's model trained further with captions that never mention pacemakers.

Program: prism train finetune
Needs: prism train finetune --config demo/finetune
    prism export --run runs/demo/finetune --out runs/demo/model
Takes: 1.5 minutes on 2 CPU cores; on a GPU not measured

demo/audit audits it. `make demo` runs it.
"""

import dataclasses

from prism_jax.configs.demo import finetune
from prism_jax.configs.phantom.finetune_confounded import UNSAID
from prism_jax.data.captions.templates import CaptionConfig
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.training.finetune.validation import FinetuneValidation, SampleGrid
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig


def config() -> FinetuneRun:
    first = finetune.config()
    return dataclasses.replace(
        first,
        run="runs/demo/silent",
        model="runs/demo/model",
        data=dataclasses.replace(first.data, captions=CaptionConfig(templates=(UNSAID,))),
        optimizer=OptimizerConfig(peak=2e-4, warmup=10, decay="cosine", final=0.05, weight_decay=0.01),
        ema_decay=0.95,
        loop=LoopConfig(steps=100, log_every=10, checkpoint_every=100, keep=1),
        samples=SampleGrid(every=0, prompts=()),
        validation=FinetuneValidation(every=0),
    )
