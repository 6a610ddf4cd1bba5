"""Decoding: for the loaders, and to fill the decoded cache."""
