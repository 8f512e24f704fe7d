"""The demo pair of the package: its model files, its data card, and the generator of the problems it solves.

Does not load or run the models.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SLM_FILE = FOLDER / "demo-slm.gguf"
LLM_FILE = FOLDER / "demo-llm.gguf"
ROUTER_FILE = FOLDER / "demo-router.safetensors"
DATA_CARD = FOLDER / "DATA_CARD.md"

GREETING = (
    "This pair only solves short English word problems with integers up to 999 (addition, subtraction, multiplication "
    "and division, in 2 to 6 steps) in the sentence patterns it was trained on."
)
"""The abilities of the pair, shown in the chat; the first sentence of the data card."""
