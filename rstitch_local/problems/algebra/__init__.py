"""Expressions in answers as sympy objects: parsing, evaluation in bounds, exact comparison, sets of real numbers.

Import this in the grading process only. No text is evaluated as code.
"""
