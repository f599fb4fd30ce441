"""A private RabbitMQ, a central server and sample agents: for the demo, tests and benchmarks."""
