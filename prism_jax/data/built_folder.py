"""The check that a folder holds a built data set, with the remedy where it does not."""

from pathlib import Path

INFO_FILE = "dataset_info.json"
TABLES = (".csv", ".jsonl", ".csv.gz", ".jsonl.gz")


def check(folder: str | Path) -> None:
    """Raises a one-line ValueError unless `prism data build` made `folder`."""
    folder = Path(folder)
    if (folder / INFO_FILE).is_file():
        return
    if not folder.is_dir():
        raise ValueError(f"data set {folder} does not exist; build it with: prism data build NAME --out {folder}")
    table = next((file.name for file in sorted(folder.iterdir()) if file.name.endswith(TABLES)), None)
    if table is not None:
        raise ValueError(
            f"{folder} is a source folder (it has {table}), not a built data set; build one from it with: prism data "
            f"build NAME --source {folder} --out NEW_FOLDER, then give NEW_FOLDER"
        )
    raise ValueError(
        f"{folder} is not a built data set (no {INFO_FILE} in it); prism data build NAME --out NEW_FOLDER makes one"
    )
