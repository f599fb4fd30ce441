"""pika with a new connection for each message that is published, as older brokers do it."""

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

from tests.bench.contenders.routing import amqp_url, route_body
from tests.bench.names import INPUT_QUEUE, OUTPUT_QUEUE, PEER_PREFETCH

_PARAMETERS = pika.URLParameters(amqp_url())


def on_message(
    channel: BlockingChannel, method: Basic.Deliver, _: BasicProperties, body: bytes
) -> None:
    with pika.BlockingConnection(_PARAMETERS) as connection:
        publishing = connection.channel()
        publishing.queue_declare(OUTPUT_QUEUE, durable=True)
        publishing.basic_publish(
            "",
            OUTPUT_QUEUE,
            route_body(body),
            BasicProperties(
                content_type="application/json", delivery_mode=pika.DeliveryMode.Persistent
            ),
        )
    channel.basic_ack(method.delivery_tag)


def main() -> None:
    channel = pika.BlockingConnection(_PARAMETERS).channel()
    channel.basic_qos(prefetch_count=PEER_PREFETCH)
    channel.queue_declare(INPUT_QUEUE, durable=True)
    channel.basic_consume(INPUT_QUEUE, on_message)
    channel.start_consuming()


if __name__ == "__main__":
    main()
