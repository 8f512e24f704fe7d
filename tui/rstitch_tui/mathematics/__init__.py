"""Formulas of TeX as Unicode text: pure functions from source to lines. Independent of Markdown and widgets.

The names of symbols and the alphabets are those of pylatexenc. Its parser is not used, because it recurses without a
limit and its time is quadratic; nor its text, because it drops what it does not know, and the brackets of (a+b)/c.
"""
