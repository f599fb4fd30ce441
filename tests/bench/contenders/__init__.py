"""What is measured. Each module is a program: `python -m tests.bench.contenders.NAME AMQP_URL`.

`tests.bench.builds` makes programs of the other files.
"""
