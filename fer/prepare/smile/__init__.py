# SPDX-License-Identifier: Apache-2.0
"""openSMILE features of audio. `extract.py` computes and writes them, `python -m fer.prepare.smile` is the command."""
