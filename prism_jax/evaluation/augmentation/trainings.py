"""The trainings of a study, each a run of `prism train classifier`, and what their classifiers see."""

import dataclasses
import re
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
from prism_jax.atomic import atomic_write
from prism_jax.classifier import Classifier
from prism_jax.evaluation import judges
from prism_jax.evaluation.augmentation.test_sets import HeldOut

REAL, SAMPLES, COUNTERFACTUALS, TRUTH = "real", "samples", "counterfactuals", "truth"
ARMS = {
    REAL: "real only",
    SAMPLES: "real + plain samples",
    COUNTERFACTUALS: "real + counterfactuals",
    TRUTH: "real + true counterfactuals",
}
READ_AT_ONCE = 64


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
        """The classifier's configuration is the last that is written of it."""
        return (self.folder / "model" / configs.FILE_NAME).is_file()

    @property
    def settings(self) -> Any:
        """The configuration that the program is to run with, a ClassifierRun."""
        return configs.override(configs.load(self.config), self.options, prog=f"train.classifier, {self.config}")


def training(
    arm: str, seed: int, *, folder: Path, config: str, data: str, added: Path | None, weight: float
) -> Training:
    """The training of an arm on the data set `data` and the pictures in `added`, drawn `weight` times as often.

    Without added pictures the same real ones stand in their place, so that all arms take equally many steps in
    batches of one size.
    """
    options = ("--run", folder, "--seed", seed, "--data.folder", data)
    options += ("--data.extra.0.folder", added or data, "--data.extra.0.weight", weight)
    return Training(arm=arm, seed=seed, folder=folder, config=config, options=tuple(map(str, options)))


def check(wanted: Training, target: str) -> Any:
    """The settings of a training that has what a study needs.

    Raises:
      ValueError: a configuration that does not know the target or mixes no data set in, or a folder of another one.
    """
    if not _mixes(wanted.config):
        raise ValueError(f"{wanted.config}: data.extra must name one data set, which the study replaces by its own")
    settings = wanted.settings
    if settings.targets is not None and target not in settings.targets:
        raise ValueError(f"{wanted.config}: targets {', '.join(settings.targets)} lack {target}, which the study is of")
    if (wanted.folder / configs.FILE_NAME).is_file() and configs.read(wanted.folder) != settings:
        raise ValueError(f"{wanted.folder} holds a training with other settings; remove it, or use another --run")
    return settings


def train(wanted: Training, place: str) -> None:
    """Runs the training, or goes on with it, unless it is done; `place` says which of how many it is.

    Raises:
      Stopped: a signal stopped the program, which saved what it had.
      ValueError: it did not take its options or data, and has said why.
      RuntimeError: it failed otherwise.
    """
    if wanted.is_done:
        return
    print(f"training {place}: {ARMS[wanted.arm]}, seed {wanted.seed}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "prism_jax", "train", "classifier", "--config", wanted.config, *wanted.options]
    code = subprocess.run(command, check=False).returncode
    if wanted.is_done:
        return
    if code in (entrypoint.STOPPED, entrypoint.INTERRUPTED):
        number = signal.SIGINT if code == entrypoint.INTERRUPTED else signal.SIGTERM
        raise entrypoint.Stopped(f"stopped in {wanted.folder}; the same command resumes the study", number)
    error = ValueError if code == 2 else RuntimeError
    raise error(f"prism train classifier ended with {code} and without a classifier in {wanted.folder}")


def seen(wanted: Training, target: str, tests: Sequence[HeldOut], batch_size: int) -> dict[str, np.ndarray]:
    """Test set -> probabilities float64 [n] of the target; kept beside the classifier, and read again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = {test.name: wanted.folder / f"{_slug(test.name)}.parquet" for test in tests}
    found = {name: pq.read_table(file) for name, file in files.items() if file.is_file()}
    missing = [test for test in tests if test.name not in found]
    if missing:
        judge = Classifier.from_pretrained(wanted.folder / "model")
        for test in missing:
            probability = ask(judge, target, test.images, batch_size, f"looking at {test.name}")
            found[test.name] = pa.table({"patient": test.patients, "probability": probability})
            with atomic_write(files[test.name]) as partial:
                pq.write_table(found[test.name], partial)
    for test in tests:
        if found[test.name]["patient"].to_pylist() != test.patients.tolist():
            raise ValueError(f"{files[test.name]} is of other images; remove it")
    return {name: table["probability"].to_numpy() for name, table in found.items()}


def ask(judge: Classifier, target: str, images: np.ndarray, batch_size: int, what: str) -> np.ndarray:
    """The probability float64 [n] of the target in each of `images`, uint8 [n, h, w]; `what` names the progress."""
    found = judges.ask(judge, images, batch_size=batch_size, what=what)
    return expit(found.logits[:, judge.column(target)].astype(np.float64))


def _mixes(config: str) -> bool:
    """Whether the configuration has the one further data set that options can name."""
    return len(getattr(getattr(configs.load(config), "data", None), "extra", ())) == 1


def _slug(name: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", name)
