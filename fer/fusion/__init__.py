# SPDX-License-Identifier: Apache-2.0
"""Late fusion of results files. Imports NumPy but never TensorFlow, so that `fusion.py` starts fast."""
