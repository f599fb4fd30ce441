"""AMQP frames, content and properties as bytes."""
