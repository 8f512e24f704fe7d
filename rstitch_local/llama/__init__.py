"""The only code that calls llama.cpp. Knows nothing of routing."""
