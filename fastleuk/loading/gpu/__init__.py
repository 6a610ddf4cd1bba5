"""The loader whose kernels augment on a GPU."""
