"""Features and logits of every line of a manifest: python -m fer.extract."""
