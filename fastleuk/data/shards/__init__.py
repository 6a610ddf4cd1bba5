"""WebDataset tar shards: read where they lie, and written."""
