"""What a run says of itself, in plain sentences."""
