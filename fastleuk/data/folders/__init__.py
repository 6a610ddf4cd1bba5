"""Class folders, and folders that are a ready-made split."""
