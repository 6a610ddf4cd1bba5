"""``compiled``: the nine steps as one function, by numba on a CPU and by Triton on a GPU."""
