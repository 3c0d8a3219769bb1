"""The trainings of a study, each a run of `prism train classifier`, and the predictions of their classifiers."""

import dataclasses
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from prism_jax import config as configs
from prism_jax import entrypoint
from prism_jax.classifier import Classifier
from prism_jax.evaluation import judges
from prism_jax.evaluation.augmentation.test_sets import StudyTestImages
from prism_jax.evaluation.counterfactuals.manifest import write_table
from prism_jax.evaluation.subjects import slug

REAL, SAMPLES, COUNTERFACTUALS, TRUTH = "real", "samples", "counterfactuals", "truth"
ARMS = {
    REAL: "real only",
    SAMPLES: "real + plain samples",
    COUNTERFACTUALS: "real + counterfactuals",
    TRUTH: "real + true counterfactuals",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """One classifier of a study."""

    arm: str
    seed: int
    folder: Path
    config: str  # of the program train.classifier
    options: tuple[str, ...]  # on its command line

    @property
    def is_done(self) -> bool:
        """True if the classifier is written: its configuration is its last file."""
        return (self.folder / "model" / configs.FILE_NAME).is_file()

    @property
    def settings(self) -> Any:
        """The configuration of the run, a ClassifierRun."""
        return configs.override(configs.load(self.config), self.options, prog=f"train.classifier, {self.config}")


def training(
    arm: str, seed: int, *, folder: Path, config: str, data: str, added: Path | None, weight: float
) -> Training:
    """The training of an arm on the data set `data` and the images in `added`, drawn `weight` times as often.

    Without added images the real ones are drawn in their place, so that all arms have the same steps and batch size.
    """
    options = ("--run", folder, "--seed", seed, "--data.folder", data)
    options += ("--data.extra.0.folder", added or data, "--data.extra.0.weight", weight)
    return Training(arm=arm, seed=seed, folder=folder, config=config, options=tuple(map(str, options)))


def check(training: Training, target: str) -> Any:
    """The settings of a training, checked for the study.

    Raises:
      ValueError: a configuration without the target or without an extra data set, or a folder with other settings.
    """
    if not _mixes(training.config):
        raise ValueError(f"{training.config}: data.extra must name one data set, which the study replaces by its own")
    settings = training.settings
    if settings.targets is not None and target not in settings.targets:
        raise ValueError(
            f"{training.config}: targets {', '.join(settings.targets)} lack {target}, the target of the study"
        )
    if (training.folder / configs.FILE_NAME).is_file() and configs.read(training.folder) != settings:
        raise ValueError(f"{training.folder} holds a training with other settings; remove it, or use another --run")
    return settings


def train(training: Training, place: str) -> None:
    """Runs or resumes the training unless it is done; `place` is its number, for the progress message.

    Raises:
      Stopped: a signal stopped the program, which saved its state.
      ValueError: it refused its options or data, with a message.
      RuntimeError: it failed otherwise.
    """
    if training.is_done:
        return
    print(f"training {place}: {ARMS[training.arm]}, seed {training.seed}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "prism_jax", "train", "classifier", "--config", training.config, *training.options]
    code = subprocess.run(command, check=False).returncode
    if training.is_done:
        return
    if code in (entrypoint.STOPPED, entrypoint.INTERRUPTED):
        number = signal.SIGINT if code == entrypoint.INTERRUPTED else signal.SIGTERM
        raise entrypoint.Stopped(f"stopped in {training.folder}; the same command resumes the study", number)
    error = ValueError if code == 2 else RuntimeError
    raise error(f"prism train classifier ended with {code} and without a classifier in {training.folder}")


def predictions(
    training: Training, target: str, tests: Sequence[StudyTestImages], batch_size: int
) -> dict[str, np.ndarray]:
    """Test set -> probabilities float64 [n] of the target; stored beside the classifier."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = {test.name: training.folder / f"{slug(test.name)}.parquet" for test in tests}
    tables = {name: pq.read_table(file) for name, file in files.items() if file.is_file()}
    missing = [test for test in tests if test.name not in tables]
    if missing:
        judge = Classifier.from_pretrained(training.folder / "model")
        for test in missing:
            scores = probability(judge, target, test.images, batch_size, f"predicting {test.name}")
            tables[test.name] = pa.table({"patient": test.patients, "probability": scores})
            write_table(tables[test.name], files[test.name])
    for test in tests:
        if tables[test.name]["patient"].to_pylist() != test.patients.tolist():
            raise ValueError(f"{files[test.name]} is of other images; remove it")
    return {name: table["probability"].to_numpy() for name, table in tables.items()}


def probability(judge: Classifier, target: str, images: np.ndarray, batch_size: int, what: str) -> np.ndarray:
    """The probability float64 [n] of the target in each of `images`, uint8 [n, h, w]; `what` names the progress."""
    predictions = judges.ask(judge, images, batch_size=batch_size, what=what)
    return expit(predictions.logits[:, judge.column(target)].astype(np.float64))


def _mixes(config: str) -> bool:
    """True if the configuration has exactly one extra data set, whose folder an option can set."""
    return len(getattr(getattr(configs.load(config), "data", None), "extra", ())) == 1
