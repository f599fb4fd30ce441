"""What can go wrong with a private RabbitMQ node."""


class RabbitmqNodeError(Exception):
    """The private RabbitMQ node did not do what it was asked to."""


class RabbitmqNotInstalledError(RabbitmqNodeError):
    """RabbitMQ, or the Erlang it runs on, was not found on this machine."""


class NodeEndedError(RabbitmqNodeError):
    """A node ended before it was ready, perhaps because somebody took one of its ports."""
