"""Labels of findings, and the policy for uncertain and unmentioned ones.

A stored finding is present, absent or uncertain; one that is not a key was not mentioned. Neither uncertain nor
unmentioned is negative, unless a policy says so, for a finding or for all; `build.json` records it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from prism_jax.data.captions.phrases import spoken
from prism_jax.data.schema import FINDING

Treatment = Literal["ignore", "positive", "negative"]
TREATMENTS = ("ignore", "positive", "negative")
VALUES = {"positive": True, "negative": False}

CHEXPERT = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
NIH = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
DEVICES = ("Support Devices",)  # a normal chest may have these
NO_FINDING = "No Finding"  # in label tables

_STATES = {"1.0": True, "1": True, "0.0": False, "0": False, "-1.0": None, "-1": None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelPolicy:
    """Label policy: how uncertain and unmentioned findings are stored.

    "ignore" stores them as uncertain and unmentioned; "positive" and "negative" store them as present or absent, as
    U-Ones and U-Zeros of CheXpert do. The tuples override the policy of single findings: "Atelectasis=positive".
    """

    uncertain: Treatment = "ignore"
    uncertain_of: tuple[str, ...] = ()
    unmentioned: Treatment = "ignore"  # not applied to "finding": a missing label does not say that the chest is normal
    unmentioned_of: tuple[str, ...] = ()
    normal: Treatment = "ignore"  # policy for unmentioned findings (not devices) of images labelled No Finding

    def __post_init__(self):
        for option in ("uncertain", "unmentioned", "normal"):
            if getattr(self, option) not in TREATMENTS:
                raise ValueError(f"{option} must be one of {', '.join(TREATMENTS)}, got {getattr(self, option)!r}")
        self.treatments("uncertain")
        self.treatments("unmentioned")

    def treatments(self, option: Literal["uncertain", "unmentioned"]) -> dict[str, Treatment]:
        """The overrides by finding, as captions spell them."""
        overrides = {}
        for text in getattr(self, f"{option}_of"):
            name, _, treatment = text.partition("=")
            if not name or treatment not in TREATMENTS:
                raise ValueError(f"{option}_of {text!r} is no FINDING=TREATMENT with one of {', '.join(TREATMENTS)}")
            overrides[spoken(name)] = treatment
        return overrides

    def check(self, names: Sequence[str]) -> None:
        """Raises a ValueError for an override of a finding that is not in `names`."""
        spellings = {spoken(name) for name in names}
        for option in ("uncertain", "unmentioned"):
            for name in self.treatments(option):
                if name not in spellings:
                    raise ValueError(f"{option}_of names {name!r}; the findings are {', '.join(names)}")


def read(cells: Mapping[str, str], names: Sequence[str]) -> dict[str, bool | None]:
    """The findings of a row of a CheXpert-like table: 1.0 present, 0.0 absent, -1.0 uncertain, blank not mentioned.

    The column No Finding is optional; where it says 1.0 and no finding but a device is present or uncertain, the
    finding "finding" is absent.

    Raises:
      ValueError: a cell with another value.
    """
    findings = {name: _state(name, cells[name]) for name in names if cells[name]}
    is_contradicted = any(state is not False for name, state in findings.items() if name not in DEVICES)
    if cells.get(NO_FINDING) and _state(NO_FINDING, cells[NO_FINDING]) and not is_contradicted:
        return {FINDING: False} | findings
    return findings


def listed(present: Iterable[str], names: Sequence[str]) -> dict[str, bool | None]:
    """The findings of a row that lists the `present` ones, or No Finding alone, in the order of `names`.

    Raises:
      ValueError: an unknown name, or No Finding beside another one.
    """
    present = list(present)
    unknown = [name for name in present if name not in names and name != NO_FINDING]
    if unknown:
        raise ValueError(f"unknown finding {', '.join(unknown)}; use {', '.join(names)}, {NO_FINDING}")
    if NO_FINDING in present:
        if len(present) > 1:
            raise ValueError(f"{NO_FINDING!r} stands beside {', '.join(n for n in present if n != NO_FINDING)}")
        return {FINDING: False}
    return {name: True for name in names if name in present}


def applied(findings: Mapping[str, bool | None], names: Sequence[str], policy: LabelPolicy) -> dict[str, bool | None]:
    """The findings after `policy`; those it adds come in the order of `names`, all that may occur."""
    if policy == LabelPolicy():
        return dict(findings)
    uncertain, unmentioned = policy.treatments("uncertain"), policy.treatments("unmentioned")
    is_normal = findings.get(FINDING) is False

    def state(name: str) -> bool | str | None:
        if name in findings:
            treatment = uncertain.get(spoken(name), policy.uncertain)
            return findings[name] if findings[name] is not None else VALUES.get(treatment)
        treatment = unmentioned.get(spoken(name), policy.unmentioned)
        if treatment == "ignore" and is_normal and name not in DEVICES:
            treatment = policy.normal
        return VALUES.get(treatment, "unmentioned")

    order = [*(name for name in findings if name not in names), *names]
    states = {name: state(name) for name in order}
    return {name: value for name, value in states.items() if value != "unmentioned"}


def _state(name: str, cell: str) -> bool | None:
    if cell not in _STATES:
        raise ValueError(f"{name} must be 1.0, 0.0, -1.0 or blank, got {cell!r}")
    return _STATES[cell]
