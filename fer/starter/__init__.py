# SPDX-License-Identifier: Apache-2.0
"""The starter set: its networks in face/ and voice/, and the code that builds, unpacks and lists them.

`fer/nets/weights/starter.py` reads the networks.
"""
