"""Makes the demo pair: tokeniser, data, training, export and evaluation, one module each."""
