"""``fastleuk bench-pipeline``: how fast each way of loading is here, and what training sees."""
