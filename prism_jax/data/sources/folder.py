"""Source "folder": the user's own images and a table with one row per image."""

from __future__ import annotations

import dataclasses
import re
import string
from pathlib import Path

from prism_jax.data import schema
from prism_jax.data.captions import phrases
from prism_jax.data.sources import label_policy, tables
from prism_jax.data.sources.ingest import IngestConfig, Row, race, split_of
from prism_jax.data.sources.label_policy import LabelPolicy

NO_FINDING = "no finding"
YES, NO = ("y", "yes", "true", "1", "1.0"), ("n", "no", "false", "0", "0.0")
UNCERTAIN = ("u", "uncertain", "possible", "-1", "-1.0")
SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "": None, "unknown": None, "u": None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderConfig:
    """Column names of the table and how to read them. None: the table has no such column."""

    csv: str = "metadata.csv"  # table, relative to the source folder: .csv or .jsonl, also with .gz
    path: str = "{path}"  # path of the image, relative to the source folder; braces name columns: "images/{id}.jpg"
    patient_column: str = "patient"  # patient identifier; all images of a patient are in one split
    patient_pattern: str = ".+"  # regex for the identifying part of that cell: r"\d+" reads 326 from 326a
    study_column: str | None = None  # study (examination) identifier
    sex_column: str | None = "sex"  # M, F, male, female or empty
    age_column: str | None = "age"  # years
    view_column: str | None = "view"  # AP, PA, ...
    race_column: str | None = None
    text_column: str | None = None  # report or note
    spacing_columns: tuple[str, ...] = ()  # pixel spacing in mm: one column, or one for rows and one for columns
    findings_column: str | None = "findings"  # list of findings; empty: unknown, "No Finding": none present
    separator: str = ";"  # separator of the findings in a list
    findings: tuple[str, ...] | None = None  # all findings that the list may contain; None: any
    unlisted_absent: bool = False  # findings missing from the list count as absent, not as unmentioned
    flags: tuple[str, ...] = ()  # one column per finding with yes, no or uncertain: "tube=endotracheal tube"
    masks: tuple[str, ...] = ()  # "lungs=masks/{id}.png": PNG files of the image's size; an empty cell: no mask
    mask_column: str | None = None  # yes/no: only images with yes have masks; None: all have
    policy: LabelPolicy = LabelPolicy()
    ingest: IngestConfig = IngestConfig()

    def __post_init__(self):
        if self.unlisted_absent and not self.findings:
            raise ValueError("unlisted_absent needs the list of all findings; give findings")
        if len(self.spacing_columns) > 2:
            raise ValueError(f"spacing_columns {self.spacing_columns} are more than a row and a column spacing")
        if not all("=" in mask for mask in self.masks):
            raise ValueError(f"masks {self.masks} are not NAME=PATH; for example lungs=masks/{{id}}.png")
        try:
            re.compile(self.patient_pattern)
        except re.error as error:
            raise ValueError(f"patient_pattern {self.patient_pattern!r} is not a regex: {error}") from None
        if self.findings is not None:
            self.policy.check(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """All findings named in the configuration, in caption order."""
        columns = (_flag(flag)[1] for flag in self.flags)
        return (*(self.findings or ()), *(name for name in columns if phrases.spoken(name) != NO_FINDING))


def read_rows(source: str | Path, config: FolderConfig) -> list[Row]:
    """All rows of the table. Raises a ValueError for the first cell that makes no sense, before slow work."""
    file = tables.find(source, config.csv)
    table = tables.read(file, separator=config.separator)
    _check_columns(file, tuple(table[0]), config)
    return tables.parse_rows(file, table, lambda index, cells: _row(index, cells, config))


def _check_columns(file: Path, present: tuple[str, ...], config: FolderConfig) -> None:
    in_path = _fields(config.path)
    columns = {
        f"the image path {config.path!r}": in_path,
        "masks": [name for mask in config.masks for name in _fields(mask)],
        "flags": [_flag(flag)[0] for flag in config.flags],
        "spacing_columns": list(config.spacing_columns),
    }
    for field in dataclasses.fields(config):
        if field.name.endswith("_column") and getattr(config, field.name):
            columns[field.name] = [getattr(config, field.name)]
    for option, names in columns.items():
        for name in names:
            if name not in present:
                remedy = ", or None" if option.endswith("_column") and option != "patient_column" else ""
                raise ValueError(
                    f"{file} has no column {name!r} (needed by {option}); it has {', '.join(present)}: "
                    f"name one of these{remedy}"
                )


def _row(number: int, cells: dict[str, str], config: FolderConfig) -> Row:
    match = re.search(config.patient_pattern, cells[config.patient_column])
    if match is None:
        patient = cells[config.patient_column]
        raise ValueError(f"patient {patient!r} does not match patient_pattern {config.patient_pattern!r}")
    has_masks = config.mask_column is None or _state(config.mask_column, cells[config.mask_column]) is True
    masks = dict(mask.split("=", 1) for mask in config.masks) if has_masks else {}
    return Row(
        number=number,
        line=number + 2,
        path=config.path.format_map(cells),
        patient=match.group(),
        study=cells[config.study_column] if config.study_column else "",
        split=split_of(match.group(), config.ingest),
        text=" ".join(cells[config.text_column].split()) if config.text_column else "",
        spacing=_spacing([cells[column] for column in config.spacing_columns]),
        masks={name: path.format_map(cells) for name, path in masks.items() if all(cells[c] for c in _fields(path))},
        attributes=schema.Attributes(
            age=_age(cells[config.age_column]) if config.age_column else None,
            sex=tables.choice("sex", cells[config.sex_column].lower(), SEXES) if config.sex_column else None,
            view=cells[config.view_column] or None if config.view_column else None,
            race=race(cells[config.race_column]) if config.race_column else None,
            findings=label_policy.applied(_findings(cells, config), config.names, config.policy),
        ),
    )


def _findings(cells: dict[str, str], config: FolderConfig) -> dict[str, bool | None]:
    listed = cells[config.findings_column].split(config.separator) if config.findings_column else []
    names = [name.strip() for name in listed if name.strip()]
    positive = [name for name in names if phrases.spoken(name) != NO_FINDING]
    if positive and len(positive) < len(names):
        raise ValueError(f"'No Finding' stands beside {', '.join(positive)}; remove one of them")
    findings: dict[str, bool | None] = _positive(positive, config)
    if names and not positive:
        # Without a list of all findings, the caption reads "with no finding".
        findings = dict.fromkeys(config.findings or (label_policy.FINDING,), False)
    elif names and config.unlisted_absent:
        findings = {name: name in findings for name in config.findings}
    return findings | _flagged(cells, config)


def _flagged(cells: dict[str, str], config: FolderConfig) -> dict[str, bool | None]:
    findings = {}
    for flag in config.flags:
        column, name = _flag(flag)
        if not cells[column]:
            continue
        state = _state(column, cells[column])
        if phrases.spoken(name) != NO_FINDING:
            findings[name] = state
        elif state is True:
            findings[label_policy.FINDING] = False
    return findings


def _state(column: str, cell: str) -> bool | None:
    """State of a yes/no cell; None where it is empty or uncertain."""
    cell = cell.lower()
    if cell in YES or cell in NO:
        return cell in YES
    if cell and cell not in UNCERTAIN:
        raise ValueError(f"{column} {cell!r} is not yes or no ({', '.join(YES + NO)}), {', '.join(UNCERTAIN)} or empty")
    return None


def _positive(names: list[str], config: FolderConfig) -> dict[str, bool | None]:
    """Present findings, in the order and spelling of `config.findings` where given."""
    if config.findings is None:
        return dict.fromkeys(names, True)
    spellings = {phrases.spoken(name): name for name in config.findings}
    for name in names:
        if phrases.spoken(name) not in spellings:
            raise ValueError(f"unknown finding {name!r}; use {', '.join(config.findings)}")
    spoken = {phrases.spoken(name) for name in names}
    return {name: True for key, name in spellings.items() if key in spoken}


def _flag(flag: str) -> tuple[str, str]:
    """(column, finding) of "column" or "column=finding"."""
    column, _, name = flag.partition("=")
    return column, name or phrases.spoken(column)


def _fields(template: str) -> list[str]:
    """The columns that a path names in braces."""
    return [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]


def _spacing(cells: list[str]) -> tuple[float, float] | None:
    if not all(cells) or not cells:
        return None
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        values = [0.0]
    if not all(0 < value < 100 for value in values):
        raise ValueError(
            f"spacing must be between 0 and 100 mm, got {', '.join(cells)}; empty the cell if it is unknown"
        )
    return values[0], values[-1]


def _age(cell: str) -> float | None:
    if cell.lower() in ("", "nan", "unknown"):
        return None
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"age must be a number of years, got {cell!r}; empty the cell if it is unknown") from None
