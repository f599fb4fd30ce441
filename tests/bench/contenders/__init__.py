"""What is measured. Each module is a program: `python -m tests.bench.contenders.NAME AMQP_URL`."""
