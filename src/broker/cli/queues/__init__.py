"""`broker queues`: list the broker's durable queues, convert them, or set policies for them."""
