"""Problem files to graded answers: reading, prompting, grading, and a run folder that resumes.

Knows a model pair only as something with a `start` method, and nothing of llama.cpp or of screens.
"""
