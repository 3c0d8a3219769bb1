"""The rows of a comparison as a configuration names them: text editors, causal models, translators, and brackets."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import jax.numpy as jnp

from prism_jax import config as configs
from prism_jax.editing import MaskPrediction
from prism_jax.evaluation.benchmark.ground_truth import Mode
from prism_jax.evaluation.counterfactuals.run import Inversion
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.ground_truth import AUTOENCODER, DO_NOTHING, ORACLE
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.pretrained import folder as model_folder
from prism_jax.scm.graph import Graph
from prism_jax.scm.image_mechanism import CounterfactualConfig, Effect
from prism_jax.weights import pretrained

TRUE_MASKS = ("attribute", "box")  # of the phantom
MASKS = (None, *TRUE_MASKS, "predicted")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strength:
    """How strongly a row's edits hold the picture to the source, in place of what the changes say."""

    cross_steps: float = 0.4
    self_steps: float = 0.4
    weight: float = 1.0
    blend: float | None = None
    guidance: float | None = None

    def on(self, edit: EditSpec) -> EditSpec:
        return dataclasses.replace(edit, **dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Editor:
    """A Stable Diffusion that edits inverted pictures by text; with `mask`, as RadEdit does (arXiv 2312.12865).

    There guidance acts inside an edit mask alone, and outside it every step is set back to the source.
    """

    name: str
    model: str = "phantom"
    """Diffusers folder."""
    inversion: Inversion = Inversion()
    strength: Strength | None = None
    """None: that of the changes."""
    mask: Literal["attribute", "box", "predicted"] | None = None
    """The phantom's own mask of what is set, an upper bound, or the box around it, `margin` larger on each side; or
    what the model predicts, which needs no truth."""
    margin: float = 0.06
    """Of the side of the picture."""
    prediction: MaskPrediction = MaskPrediction()
    """How masks are predicted."""
    dtype: jnp.dtype = jnp.dtype("float32")

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise ValueError(f"{self.name}: margin {self.margin} is not a share of the side; use 0 to 0.5")
        if self.mask not in MASKS:
            raise ValueError(f"{self.name}: mask {self.mask!r} is not known; use one of {', '.join(map(str, MASKS))}")

    @property
    def mode(self) -> Mode:
        """Surgical: the edited caption says again what else the picture shows."""
        return "surgical"

    @property
    def folders(self) -> tuple[str, ...]:
        return (self.model,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CausalModel:
    """A structural causal model: abduct, act, predict. Several image mechanisms are the seeds of one row."""

    name: str
    images: tuple[str, ...]
    """Folders of image mechanisms, RUN/model of train.image_mechanism, one for each seed."""
    mechanisms: str
    """Folder of attribute mechanisms, RUN/model of train.mechanisms."""
    mode: Mode = "surgical"
    """Whether only what is set changes, or what descends from it in the graph follows."""
    t_z: float = 0.1
    """Scale of the noise of latents."""
    t_u: float = 0.1
    """Scale of the noise of pixels that is put back: with 1 composition measures nothing."""
    effect: Effect = "total"
    """Which of the effects that a conditional prior tells apart; without one there is the total alone."""
    alpha: float = 0.65
    """Weight of the posterior where latents mediate: of a conditional prior, and no direct effect."""
    seed: int = 0
    """Of the draws, one for each subject."""

    def __post_init__(self) -> None:
        if not self.images or len(set(self.images)) < len(self.images):
            raise ValueError(f"{self.name}: images are {self.images}; name each folder once, and at least one")
        _ = self.counterfactual  # says what is out of range

    @property
    def counterfactual(self) -> CounterfactualConfig:
        """How its pictures are drawn."""
        return CounterfactualConfig(effect=self.effect, t_z=self.t_z, t_u=self.t_u, alpha=self.alpha)

    @property
    def folders(self) -> tuple[str, ...]:
        return self.images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translator:
    """GANterfactual: a pair of generators for each attribute. It can be asked to add that, or to remove it."""

    name: str
    models: tuple[str, ...]
    """Folders RUN/model of train.ganterfactual, one for each attribute."""

    def __post_init__(self) -> None:
        if not self.models or len(set(self.models)) < len(self.models):
            raise ValueError(f"{self.name}: models are {self.models}; name each folder once, and at least one")

    @property
    def mode(self) -> Mode:
        """Surgical: one attribute is asked for. What goes along with it in the data may change too."""
        return "surgical"

    @property
    def folders(self) -> tuple[str, ...]:
        """One seed: `models` are of different attributes."""
        return ("",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bracket:
    """What stands beside the rows: doing nothing, encoding and decoding alone, or the truth."""

    name: str = DO_NOTHING
    kind: Literal["do nothing", "autoencoder only", "oracle"] = DO_NOTHING
    model: str | None = None
    """Diffusers folder whose autoencoder it is, of "autoencoder only"."""
    mode: Mode = "surgical"
    """Of the truth that it hands over, or is held against."""

    def __post_init__(self) -> None:
        if (self.kind == AUTOENCODER) != (self.model is not None):
            raise ValueError(f"{self.name}: {self.kind} with model {self.model}; {AUTOENCODER} alone has a model")

    @property
    def folders(self) -> tuple[str, ...]:
        return (self.model or "",)


Row = Editor | CausalModel | Translator | Bracket


def check(rows: Sequence[Row], *, is_phantom: bool) -> None:
    """Raises ValueError for rows that cannot be made, before anything is loaded."""
    names = [row.name for row in rows]
    if not rows or len(set(names)) < len(names):
        raise ValueError(f"rows are {names}; name at least one, and each differently")
    for row in rows:
        has_true_mask = isinstance(row, Editor) and row.mask in TRUE_MASKS
        if (has_true_mask or (isinstance(row, Bracket) and row.kind == ORACLE)) and not is_phantom:
            raise ValueError(f"row {row.name!r} needs the truth, which these data do not have; leave it out")
        if isinstance(row, CausalModel):
            graph_of(row)
            check_effect(row)
        elif row.folders[0] and not (model_folder(row.folders[0]) / "model_index.json").is_file():
            raise ValueError(f"row {row.name!r}: no Stable Diffusion in {row.folders[0]}: no model_index.json")


def check_effect(row: CausalModel) -> None:
    """Raises ValueError for a direct or indirect effect of image mechanisms in which nothing mediates."""
    for folder in row.images if row.effect != "total" else ():
        if not HVAEConfig.from_dict(pretrained.read_json(Path(folder) / "config.json")).conditional_prior:
            raise ValueError(
                f"row {row.name!r}: effect {row.effect} needs a conditional prior, which {folder} was trained without: "
                "nothing mediates there; use total"
            )


def graph_of(row: CausalModel) -> Graph:
    """The graph of the mechanisms; ValueError where an image mechanism was trained under other parents."""
    graph = configs.read(row.mechanisms)
    if not isinstance(graph, Graph):
        raise ValueError(f"row {row.name!r}: {row.mechanisms} holds a {type(graph).__name__}; give RUN/model")
    for folder in row.images:
        width = HVAEConfig.from_dict(pretrained.read_json(Path(folder) / "config.json")).parents
        trained = Path(folder) / "graph"
        parents = configs.read(trained).image_parents if trained.is_dir() else graph.image_parents
        if width != graph.width or parents != graph.image_parents:
            raise ValueError(
                f"row {row.name!r}: {folder} was trained on {width} channels of {', '.join(parents)}, the mechanisms "
                f"give {graph.width} of {', '.join(graph.image_parents)}; train both on one graph"
            )
    return graph
