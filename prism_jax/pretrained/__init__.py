"""The models that ship with the package, known by name: `phantom`, and its judges `phantom_judges/densenet` and
`phantom_judges/convnext`."""

from pathlib import Path

FOLDER = Path(__file__).parent
CONTENT = ("model_index.json", "config.json")  # one of these is in the folder of every model and of every network


def folder(model: str | Path) -> Path:
    """The folder of a shipped model, or of a part of one (`phantom/vae`); any other path is returned as it is.

    A model of your own at that path, seen from the current folder, takes precedence over a shipped one. Configurations
    from before models had names give paths in the checkout, `prism_jax/pretrained/phantom`: these work from anywhere.
    """
    path = Path(model)
    if path.is_absolute() or any((path / name).is_file() for name in CONTENT):
        return path
    parts = path.parts[2:] if path.parts[:2] == ("prism_jax", "pretrained") else path.parts
    shipped = FOLDER.joinpath(*parts)
    is_inside = bool(parts) and not {"..", "__pycache__"} & set(parts)
    return shipped if is_inside and shipped.is_dir() else path
