"""What findings and devices on chest X-rays are also called."""

from collections.abc import Iterable

from prism_jax.data.captions.phrases import spoken

# The name to use where a caption mentions the finding under none of them: other names of it.
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
    """The name under which `NAMES` has this one, or, if it does not, `name` as captions say it."""
    return _MAIN.get(spoken(name), spoken(name))


def find(name: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `name` means, in its spelling: the same name, else a synonym; None if there is none.

    Raises:
      ValueError: several of `known` are synonyms of `name`, and none is that name.
    """
    known = list(known)
    same = [other for other in known if spoken(other) == spoken(name)]
    alike = same or [other for other in known if main_name(other) == main_name(name)]
    if len(alike) > 1:
        raise ValueError(f"{name!r} may mean {' or '.join(map(spoken, alike))}; write the one that is meant")
    return alike[0] if alike else None
