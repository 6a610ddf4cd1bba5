"""The appliers, side by side: the same nine steps by torchvision, by DALI, and compiled."""
