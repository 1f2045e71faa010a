"""Late fusion of results files. NumPy only, within milliseconds of a start: `fusion.py` never imports TensorFlow."""
