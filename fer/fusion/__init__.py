"""Late fusion of results files. NumPy only: `fusion.py` never imports TensorFlow."""
