"""The benchmark: the broker beside other ways to route messages through RabbitMQ with Python."""
