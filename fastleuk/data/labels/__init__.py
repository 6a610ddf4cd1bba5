"""What a row says beyond its image: the positive class, and the subject."""
