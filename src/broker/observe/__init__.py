"""What the broker lets be seen of itself."""
