"""Late fusion of results files. Imports NumPy but never TensorFlow, so that `fusion.py` starts fast."""
