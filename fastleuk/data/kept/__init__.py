"""The cache folder: what is kept there, and what killed processes left."""
