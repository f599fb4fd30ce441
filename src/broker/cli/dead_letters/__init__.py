"""`broker dead-letters`: list, show, replay and purge what could not be processed."""
