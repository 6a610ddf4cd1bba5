"""What a run keeps on disk, to go on and to be used."""
