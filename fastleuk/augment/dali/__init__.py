"""The augmentation inside a DALI pipeline: anybody's, or one of ours for arrays."""
