"""What a cell's size alone, and an image's colours alone, would score: shortcuts to beat."""
