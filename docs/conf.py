"""Sphinx configuration of the documentation; `make docs` builds it, offline and without a GPU."""

import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path("..").resolve()), os.environ.get("PYTHONPATH")]))
sys.path[:0] = [str(Path("..").resolve()), str(Path("_ext").resolve())]

project = "prism_jax"
author = "the authors of prism_jax"
copyright = "the authors of prism_jax, Apache-2.0"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "prism_reference",  # docs/_ext: the parts of the reference that are generated from the code
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
default_role = "code"  # docstrings write `name` with single backticks

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "cache"  # the notebook runs during the build
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_output_stderr = "remove"  # progress bars and warnings of other packages

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True, "exclude-members": "__init__, __new__"}
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False

html_theme = "sphinx_book_theme"
html_title = "prism_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {"show_navbar_depth": 1, "navbar_persistent": [], "home_page_in_toc": False}
