"""Decoding: for the loaders, and to fill the decoded cache."""

from fastleuk.loading.decode.pil import decode

__all__ = ["decode"]
