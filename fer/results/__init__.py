"""From window logits to one answer per official video, and what that answer is worth. No TensorFlow."""
