"""The demo set: synthetic cells in the layout of C-NMC 2019."""
