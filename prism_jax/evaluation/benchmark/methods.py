"""Configuration of the methods of a benchmark: text editors, causal models, translators, and baselines."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import jax.numpy as jnp

from prism_jax import config as configs
from prism_jax import model_card
from prism_jax.editing import MaskPrediction
from prism_jax.evaluation.benchmark.ground_truth import Mode
from prism_jax.evaluation.counterfactuals.run import Inversion
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.ground_truth import AUTOENCODER, DO_NOTHING, ORACLE
from prism_jax.model_card import EditDefaults
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.pretrained import folder as model_folder
from prism_jax.scm.graph import Graph
from prism_jax.scm.image_mechanism import CounterfactualConfig, Effect
from prism_jax.weights import pretrained

TRUE_MASKS = ("attribute", "box")  # of the phantom
MASKS = (None, *TRUE_MASKS, "predicted")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strength:
    """Strength of a method's edits, replacing that of the benchmark's edits."""

    cross_steps: float = 0.4
    self_steps: float = 0.4
    weight: float = 1.0
    blend: float | None = None
    guidance: float | None = None

    def on(self, edit: EditSpec) -> EditSpec:
        return dataclasses.replace(edit, **dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Editor:
    """Inversion and text-guided editing by a Stable Diffusion; with `mask`, as in RadEdit (arXiv 2312.12865).

    In RadEdit guidance acts inside an edit mask only, and outside it every step is set back to the source.
    """

    name: str
    model: str = "phantom"
    """Diffusers folder."""
    inversion: Inversion = Inversion()
    strength: Strength | None = None
    """Strength of the edits; None: that of the benchmark's edits."""
    mask: Literal["attribute", "box", "predicted"] | None = None
    """The phantom's true mask of the edited attribute (an upper bound), the box around it, `margin` larger on each
    side, or the mask predicted by the model, which needs no ground truth."""
    margin: float = 0.06
    """Margin around the box, as a fraction of the image side."""
    prediction: MaskPrediction = MaskPrediction()
    """Options of predicted masks."""
    dtype: jnp.dtype = jnp.dtype("float32")
    mode: ClassVar[Mode] = "surgical"  # the edited caption repeats all other attributes

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise ValueError(f"{self.name}: margin must be from 0 to below 1, got {self.margin}")
        if self.mask not in MASKS:
            raise ValueError(f"{self.name}: mask {self.mask!r} is not known; use one of {', '.join(map(str, MASKS))}")

    @cached_property
    def defaults(self) -> EditDefaults:
        """The model card's values for options that are None."""
        return model_card.read(model_folder(self.model)).edit

    @property
    def folders(self) -> tuple[str, ...]:
        return (self.model,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CausalModel:
    """A structural causal model: abduction, action, prediction. Several image mechanisms are seeds of one method."""

    name: str
    images: tuple[str, ...]
    """Folders of image mechanisms, RUN/model of train.image_mechanism, one for each seed."""
    mechanisms: str
    """Folder of attribute mechanisms, RUN/model of train.mechanisms."""
    mode: Mode = "surgical"
    """Surgical: only the edited attribute changes. Graph: its descendants follow."""
    t_z: float = 0.1
    """Scale of the latent noise."""
    t_u: float = 0.1
    """Scale of the abducted pixel noise; with 1 composition is trivially 0."""
    effect: Effect = "total"
    """Total, direct or indirect effect; the latter two need a conditional prior."""
    alpha: float = 0.65
    """Weight of the posterior against the prior when latents are mediated (conditional prior, total or indirect
    effect)."""
    seed: int = 0
    """Seed of the posterior draws, one per subject."""

    def __post_init__(self) -> None:
        if not self.images or len(set(self.images)) < len(self.images):
            raise ValueError(f"{self.name}: images are {self.images}; name each folder once, and at least one")
        _ = self.counterfactual  # validates

    @property
    def counterfactual(self) -> CounterfactualConfig:
        """Options of its counterfactuals."""
        return CounterfactualConfig(effect=self.effect, t_z=self.t_z, t_u=self.t_u, alpha=self.alpha)

    @property
    def folders(self) -> tuple[str, ...]:
        return (*self.images, self.mechanisms)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translator:
    """GANterfactual: a pair of generators per attribute, which add and remove it."""

    name: str
    models: tuple[str, ...]
    """Folders RUN/model of train.ganterfactual, one for each attribute."""
    mode: ClassVar[Mode] = "surgical"  # one attribute is edited, though correlated attributes may change too

    def __post_init__(self) -> None:
        if not self.models or len(set(self.models)) < len(self.models):
            raise ValueError(f"{self.name}: models are {self.models}; name each folder once, and at least one")

    @property
    def folders(self) -> tuple[str, ...]:
        return self.models


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline:
    """A baseline: the unchanged image, encoding and decoding alone, or the true counterfactual."""

    name: str = DO_NOTHING
    kind: Literal["do nothing", "autoencoder only", "oracle"] = DO_NOTHING
    model: str | None = None
    """Diffusers folder of the autoencoder, for "autoencoder only"."""
    mode: Mode = "surgical"
    """Mode of the true counterfactual that it returns, or with which it is compared."""

    def __post_init__(self) -> None:
        if (self.kind == AUTOENCODER) != (self.model is not None):
            raise ValueError(f"{self.name}: {self.kind} with model {self.model}; only {AUTOENCODER} has a model")

    @property
    def folders(self) -> tuple[str, ...]:
        return () if self.model is None else (self.model,)


Method = Editor | CausalModel | Translator | Baseline  # with the `folders` of their weights


def seeds_of(method: Method) -> tuple[Method, ...]:
    """A causal model with each of its image mechanisms; other methods have one seed."""
    if not isinstance(method, CausalModel):
        return (method,)
    return tuple(dataclasses.replace(method, images=(folder,)) for folder in method.images)


def check(methods: Sequence[Method], *, is_phantom: bool) -> None:
    """Raises ValueError for methods that cannot run, before anything is loaded."""
    names = [method.name for method in methods]
    if not methods or len(set(names)) < len(names):
        raise ValueError(f"methods are {names}; name at least one, and each differently")
    for method in methods:
        has_true_mask = isinstance(method, Editor) and method.mask in TRUE_MASKS
        if (has_true_mask or (isinstance(method, Baseline) and method.kind == ORACLE)) and not is_phantom:
            raise ValueError(
                f"method {method.name!r} needs true counterfactuals, which only phantoms have; leave it out"
            )
        if isinstance(method, CausalModel):
            graph_of(method)
        for folder in method.folders if isinstance(method, Editor | Baseline) else ():
            if not (model_folder(folder) / "model_index.json").is_file():
                raise ValueError(f"method {method.name!r}: no Stable Diffusion in {folder}: no model_index.json")


def graph_of(method: CausalModel) -> Graph:
    """The graph of the mechanisms; ValueError where an image mechanism was trained with other parents, or without the
    conditional prior that a direct or indirect effect needs."""
    graph = configs.read(method.mechanisms, Graph, f"give RUN/model for the mechanisms of method {method.name!r}")
    for folder in method.images:
        image = HVAEConfig.from_dict(pretrained.read_json(Path(folder) / "config.json"))
        trained = Path(folder) / "graph"
        parents = configs.read(trained).image_parents if trained.is_dir() else graph.image_parents
        if image.parents != graph.width or parents != graph.image_parents:
            raise ValueError(
                f"method {method.name!r}: {folder} was trained on {image.parents} channels of {', '.join(parents)}, "
                f"the mechanisms give {graph.width} of {', '.join(graph.image_parents)}; train both on one graph"
            )
        if method.effect != "total" and not image.conditional_prior:
            raise ValueError(
                f"method {method.name!r}: effect {method.effect} needs a conditional prior, which "
                f"{folder} was trained without; use total"
            )
    return graph
