"""A run as one file that runs without fastleuk: ONNX, torch.export, or weights for timm.

``graph`` is what the file computes, ``about`` what it says of itself, ``check`` compares it with
PyTorch; a file for each format, and ``run`` brings them together.
"""
