"""The only package that calls llama.cpp: models, KV caches, evaluation, chat templates. Independent of routing."""
