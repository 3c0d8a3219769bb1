"""The graphs of the data sets: SPEC of De Sousa Ribeiro et al., ICML 2023 (arXiv 2306.15764), and of the phantom.

Spline bins, widths and scalings are those of its published code, which is where its paper leaves them open.
"""

from prism_jax.data.phantom.equations import AGE_RANGE, CAUSES
from prism_jax.scm.graph import Continuous, Discrete, Graph, Node
from prism_jax.scm.gumbel import GumbelMax
from prism_jax.scm.mechanisms import AffineFlow, SplineFlow
from prism_jax.scm.perceptron import PerceptronConfig
from prism_jax.scm.splines import SplineConfig

ROOT = GumbelMax()
DIGITS = tuple("0123456789")
THICKNESS = Continuous(low=0.87598526, high=6.255515, unit="pixels")  # extremes of the 60,000 training images
INTENSITY = Continuous(low=66.601204, high=254.90317, unit="grey levels")


def morphomnist() -> Graph:
    """Thickness -> intensity; both and the digit are parents of the image."""
    flow = AffineFlow(moments=PerceptronConfig(hidden=(32, 32)), is_squashed=True)
    return Graph(
        nodes=(
            Node(
                name="thickness",
                values=THICKNESS,
                mechanism=SplineFlow(spline=SplineConfig(bins=4), is_squashed=True),
            ),
            Node(name="intensity", values=INTENSITY, mechanism=flow, parents=("thickness",)),
            Node(name="digit", values=Discrete(names=DIGITS), mechanism=ROOT),
        ),
        image_parents=("thickness", "intensity", "digit"),
    )


def mimic_cxr() -> Graph:
    """Age -> finding, which is pleural effusion against no finding; all four are parents of the image.

    Also for CheXpert, where race is given.
    """
    finding = GumbelMax(logits=PerceptronConfig(hidden=(8, 16), activation="sigmoid"))
    return Graph(
        nodes=(
            Node(
                name="age",
                values=Continuous(low=0.0, high=100.0, unit="years"),
                mechanism=SplineFlow(spline=SplineConfig(bins=8)),
            ),
            Node(name="race", values=Discrete(names=("white", "asian", "black")), mechanism=ROOT),
            Node(name="sex", values=Discrete(names=("male", "female")), mechanism=ROOT),
            Node(
                name="finding",
                values=Discrete(names=("no finding", "pleural effusion")),
                mechanism=finding,
                parents=("age",),
            ),
        ),
        image_parents=("age", "race", "sex", "finding"),
    )


def phantom() -> Graph:
    """The arrows of `data.phantom.equations`, with learned mechanisms in place of its equations."""
    classes, learned = {"sex": ("F", "M"), "view": ("PA", "AP")}, GumbelMax(logits=PerceptronConfig(hidden=(16,)))

    def discrete(name: str) -> Node:
        values, parents = Discrete(names=classes.get(name, ("no", "yes"))), CAUSES.get(name, ())
        return Node(name=name, values=values, mechanism=learned if parents else ROOT, parents=parents)

    low, high = AGE_RANGE
    age = Node(name="age", values=Continuous(low=low, high=high, unit="years"), mechanism=SplineFlow(is_squashed=True))
    nodes = (discrete("sex"), age, *map(discrete, CAUSES))
    return Graph(nodes=nodes, image_parents=tuple(node.name for node in nodes))
