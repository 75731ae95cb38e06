"""Sphinx's settings for the site. `build.py` runs it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "lazyrich_jax"
author = "The lazyrich_jax authors"
html_title = "lazyrich_jax"
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
extensions = ["myst_nb", "mathml", "linked_names"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_dmath_allow_labels = False  # a number after a formula is not its label
myst_heading_anchors = 4  # as on the forge
nb_execution_mode = "off"  # .ci/run executes the notebooks
nb_output_stderr = "remove"  # progress bars
nb_merge_streams = True

html_math_renderer = "mathml"
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
