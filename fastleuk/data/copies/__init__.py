"""Images that are copies of others, or look like them."""
