"""pika's blocking connection: one message, one confirm, one acknowledgement."""

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

from tests.bench.contenders.routing import amqp_url, route_body
from tests.bench.names import INPUT_QUEUE, OUTPUT_QUEUE, PEER_PREFETCH


def on_message(
    channel: BlockingChannel, method: Basic.Deliver, _: BasicProperties, body: bytes
) -> None:
    channel.basic_publish(
        "",
        OUTPUT_QUEUE,
        route_body(body),
        BasicProperties(
            content_type="application/json", delivery_mode=pika.DeliveryMode.Persistent
        ),
        mandatory=True,
    )
    channel.basic_ack(method.delivery_tag)


def main() -> None:
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url()))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=PEER_PREFETCH)
    channel.queue_declare(INPUT_QUEUE, durable=True)
    channel.queue_declare(OUTPUT_QUEUE, durable=True)
    channel.basic_consume(INPUT_QUEUE, on_message)
    channel.start_consuming()


if __name__ == "__main__":
    main()
