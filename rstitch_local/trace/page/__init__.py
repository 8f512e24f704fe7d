"""The HTML page of one answer: tokens by model, metrics, a chart of the entropies.

Self-contained: the page makes no network request. Reads traces only; no files, chats or problems.
"""
