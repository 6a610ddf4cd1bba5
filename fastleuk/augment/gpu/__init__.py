"""The augmentation of images that are on a GPU, and the proof that it computes what it should."""
