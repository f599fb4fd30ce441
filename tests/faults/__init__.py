"""The fault suite: the broker as a real process, with everything around it made to fail."""
