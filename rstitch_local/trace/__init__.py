"""The record of an answer, its columns, reading it back, terminal text, the HTML page."""

from rstitch_local.trace.page.answer import trace_page
from rstitch_local.trace.page.document import notebook_view
from rstitch_local.trace.record import HtmlRenderers, register_html_renderers

# Traces render themselves, and the record does not import the page.
register_html_renderers(HtmlRenderers(trace_page, notebook_view))
