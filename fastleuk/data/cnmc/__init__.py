"""C-NMC 2019: its names, its labels and its folders."""
