# SPDX-License-Identifier: Apache-2.0
"""The commands of the scripts at the top: `train.py`, `evaluate.py` and `fusion.py`."""
