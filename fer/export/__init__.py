# SPDX-License-Identifier: Apache-2.0
"""Networks for other programs, as ONNX or SavedModel: python -m fer.export."""
