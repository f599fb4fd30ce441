"""A private world for the broker to run in: one implementation for demo, tests and benchmarks."""
