"""The user's cache folder: where it is, and what killed processes left unfinished."""
