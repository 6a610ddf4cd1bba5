"""The decoded cache: every image decoded and resized once, in one mapped file."""
