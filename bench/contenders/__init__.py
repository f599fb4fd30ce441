"""What is measured. Each module is a program: `python -m bench.contenders.NAME AMQP_URL`."""
