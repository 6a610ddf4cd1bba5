"""A run judged on data that are not its own: other hospitals, other microscopes."""
