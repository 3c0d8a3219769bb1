"""Synonyms of findings and devices on chest X-rays."""

from collections.abc import Iterable

from prism_jax.data.captions.phrases import spoken

# Main name -> other names. The main name is used where a caption mentions the finding under none of them.
NAMES = {
    "atelectasis": ("atelectases", "atelectatic change"),
    "cardiomegaly": ("enlarged heart", "heart enlargement", "cardiac enlargement", "big heart"),
    "consolidation": ("consolidations", "airspace consolidation", "lung consolidation"),
    "covid-19": ("covid", "covid 19", "covid-19 pneumonia"),
    "edema": ("oedema", "pulmonary edema", "pulmonary oedema", "lung edema"),
    "emphysema": ("pulmonary emphysema",),
    "endotracheal tube": ("ett", "et tube", "tracheal tube", "breathing tube", "intubation"),
    "enlarged cardiomediastinum": ("widened mediastinum", "wide mediastinum", "mediastinal widening"),
    "fibrosis": ("pulmonary fibrosis", "lung fibrosis"),
    "fracture": ("fractures", "bone fracture", "broken bone"),
    "hernia": ("hiatal hernia", "hiatus hernia"),
    "infiltration": ("infiltrate", "infiltrates"),
    "lung lesion": ("lesion", "pulmonary lesion"),
    "lung opacity": ("opacity", "opacities", "lung opacities", "airspace opacity"),
    "mass": ("lung mass", "pulmonary mass"),
    "nasogastric tube": ("ng tube", "feeding tube", "enteric tube", "gastric tube"),
    "nodule": ("lung nodule", "pulmonary nodule"),
    "pacemaker": ("pacer", "icd", "defibrillator", "cardiac device", "cardiac pacemaker"),
    "pleural effusion": ("effusion", "effusions", "pleural effusions", "pleural fluid"),
    "pleural thickening": ("thickened pleura",),
    "pneumonia": ("lung infection",),
    "pneumothorax": ("ptx", "pneumothoraces", "collapsed lung"),
    "support devices": ("support lines", "support device", "lines", "line", "central line", "central venous line"),
}

_MAIN = {other: main for main, others in NAMES.items() for other in (main, *others)}


def main_name(name: str) -> str:
    """The main name of `name` in `NAMES`, or `name` as captions spell it."""
    return _MAIN.get(spoken(name), spoken(name))


def find(name: str, names: Iterable[str]) -> str | None:
    """The entry of `names` with the same name or else a synonym of `name`, in its spelling; None if there is none.

    Raises:
      ValueError: several of `names` are synonyms of `name`, and none is that name.
    """
    names = list(names)
    same = [other for other in names if spoken(other) == spoken(name)]
    alike = same or [other for other in names if main_name(other) == main_name(name)]
    if len(alike) > 1:
        raise ValueError(f"{name!r} is ambiguous: {' or '.join(map(spoken, alike))}; write one of these")
    return alike[0] if alike else None
