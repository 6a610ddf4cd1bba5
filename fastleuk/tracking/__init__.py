"""What runs leave behind: live writers, a list of run folders, and comparisons of them."""
