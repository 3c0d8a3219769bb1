"""DenseNet-121 with group normalisation on the frontal views of CheXpert.

Program: prism train classifier
Needs: prism data build chexpert --source CheXpert-v1.0 --out data/chexpert
Takes: not measured

The finding "Support Devices" covers pacemakers and lines together; uncertain findings are masked. For a second
classifier of another family take network=ConvNeXtConfig() and another seed.
"""

import jax.numpy as jnp

from prism_jax.models.densenet import DenseNetConfig
from prism_jax.training.classifier.run import ClassifierRun, ClassifierValidation
from prism_jax.training.examples import Data
from prism_jax.training.loop import LoopConfig
from prism_jax.training.optimizer import OptimizerConfig

IMAGES = 191027 * 7 // 10  # frontal views of the training split
EPOCHS = 6
BATCH = 64


def config() -> ClassifierRun:
    return ClassifierRun(
        run="runs/chexpert_classifier",
        network=DenseNetConfig(norm_num_groups=32, dtype=jnp.dtype(jnp.bfloat16)),
        data=Data(folder="data/chexpert", size=224, num_workers=8),
        size=224,
        batch_size=BATCH,
        ema_decay=0.9995,
        optimizer=OptimizerConfig(peak=1e-3, warmup=1000, decay="cosine", final=0.01, weight_decay=0.02),
        loop=LoopConfig(steps=EPOCHS * (IMAGES // BATCH), log_every=50, checkpoint_every=1000),
        validation=ClassifierValidation(every=1000, limit=5000),
    )
