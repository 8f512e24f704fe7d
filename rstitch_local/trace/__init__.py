"""The record of an answer: totals, columns, the HTML page."""
