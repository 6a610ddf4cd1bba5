"""The data set on disk: discovery, verification, splits, balanced epochs."""
