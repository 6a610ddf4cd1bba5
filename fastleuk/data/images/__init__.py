"""Image files to 8-bit RGB: one set of rules for every loader."""
