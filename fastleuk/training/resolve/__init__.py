"""A configuration made definite before the data are read: checks, choices, notes."""
