"""Small pieces of structured concurrency that Trio does not provide."""
