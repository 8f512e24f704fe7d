"""The record of an answer, its columns, reading it back, terminal text, the HTML page."""

from rstitch_local.trace.page.document import notebook_view
from rstitch_local.trace.record import register_html_renderer

# Traces render themselves in a notebook, and the record does not import the page.
register_html_renderer(notebook_view)
