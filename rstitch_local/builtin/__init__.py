"""The demo pair that ships with the package: two small models, their data card, and the problems they solve.

Says where the files are and what the pair can do; knows nothing of loading or running them.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SLM_FILE = FOLDER / "demo-slm.gguf"
LLM_FILE = FOLDER / "demo-llm.gguf"
ROUTER_FILE = FOLDER / "demo-router.safetensors"
DATA_CARD = FOLDER / "DATA_CARD.md"

GREETING = (
    "This pair solves short English word problems with whole numbers up to 999 (adding, subtracting, multiplying "
    "and dividing, in 2 to 6 steps) told in the sentences it was trained on, and nothing else."
)
"""What the pair can and cannot do, for the user who meets it in the chat; the first sentence of the data card."""
