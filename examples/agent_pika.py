"""An agent that answers each TEXT by a REPLY, with pika."""

import json
import os

import pika

ME = "echo"
connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
channel = connection.channel()
channel.confirm_delivery()  # a message is sent when RabbitMQ has it
channel.basic_qos(prefetch_count=10)
for queue in (f"agent_queue_{ME}", "central_server_agent_queue", "broker_input_queue"):
    channel.queue_declare(queue, durable=True)


def send(queue: str, **message: str) -> None:
    channel.basic_publish("", queue, json.dumps(message), pika.BasicProperties(delivery_mode=2))


def stay_online() -> None:
    hello = {"message_type": "REGISTER_AGENT", "agent_id": ME, "agent_name": "Echo"}
    send("central_server_agent_queue", **hello)
    connection.call_later(3, stay_online)


stay_online()
for delivery, _, body in channel.consume(f"agent_queue_{ME}"):
    asked = json.loads(body)
    if asked["message_type"] == "TEXT":
        send(
            "broker_input_queue",
            message_type="REPLY",
            message_id=f"re-{asked['message_id']}",  # the same when it is asked again
            sender_id=ME,
            receiver_id=asked["sender_id"],
            in_reply_to_message_id=asked["message_id"],
            text_payload=f"You said: {asked['text_payload']}",
        )
    channel.basic_ack(delivery.delivery_tag)  # last, so that nothing is lost
