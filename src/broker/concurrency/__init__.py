"""Small pieces of structured concurrency that Trio leaves to its users."""
