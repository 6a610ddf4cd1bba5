"""What a run tells of itself: its data, its epochs, its speed."""
