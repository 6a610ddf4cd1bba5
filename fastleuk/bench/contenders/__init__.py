"""What is compared: fastleuk's loaders and those that users of other libraries write."""
