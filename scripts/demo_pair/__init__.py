"""Creation of the demo pair: tokenizer, data, training, export and evaluation, one module each."""
