"""How Sphinx builds the documentation: `sphinx-build -W --keep-going -n docs docs/_build/html`."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent / "extensions")]

# Pages are built by a machine of any size: examples do not fight for its cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

project = "decaf"
author = "the decaf authors"
copyright = author
release = version_of("decaf-features")
version = ".".join(release.split(".")[:2])

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    # Of extensions/.
    "llms_txt",
    "mathml",
    "object_role",
    "written_pages",
]
exclude_patterns = ["_build", "gallery"]
default_role = "decaf"
highlight_language = "none"  # what has no language is what a command prints
# Quotes and dashes stand as they are typed: --flag is no dash.
smartquotes = False

# The reference
autodoc_typehints = "none"  # docstrings name the types, with shapes and units
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autosummary_generate = False
numpydoc_show_class_members = False  # autodoc shows them
toc_object_entries = False

# Markdown
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

# Sphinx-Gallery: gallery/plot_*.py are run, in the order of their names.
sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "abort_on_example_error": True,
    "backreferences_dir": None,
    "reference_url": {"decaf": None},
}

# The look
html_theme = "pydata_sphinx_theme"
html_title = "decaf"
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["style.css"]
# These have no pages below them.
html_sidebars = {"start": [], "comparison": []}
html_math_renderer = "mathml"
html_theme_options = {
    "navigation_with_keys": False,
    "header_links_before_dropdown": 8,
    # The tree below the page that is shown, not all of it in every page.
    "collapse_navigation": True,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
