"""Consumes and publishes as scripts for Mozilla's Pulse did, by mozillapulse or kombu. Prints what it consumes, a line each."""

import json
import sys

from kombu import Connection, Exchange, Producer, Queue
from mozillapulse.config import PulseConfiguration
from mozillapulse.consumers import GenericConsumer
from mozillapulse.messages.base import GenericMessage
from mozillapulse.publishers import GenericPublisher

what, port, user, password, exchange, *bugs = sys.argv[1:]
LABEL = what.replace(" ", "-")


def say(line):
    print(line, flush=True)


def took(body, message):
    say(json.dumps(body["payload"]["id"]))
    message.ack()


def kombu():
    return Connection(hostname="127.0.0.1", port=int(port), userid=user, password=password)


def pulse():
    return PulseConfiguration(host="127.0.0.1", port=int(port), user=user, password=password, ssl=False)


class Bug(GenericMessage):
    def __init__(self, bug):
        super().__init__()
        self.routing_parts = [bug]
        self.data = {"id": int(bug), "delta_ts": "2014-04-03T21:13:45"}


if what == "mozillapulse consumer":
    consumer = GenericConsumer(pulse(), [exchange], applabel=LABEL, topic=["#"], durable=True)
    # Its queue is there before it listens, so that the test can wait for it.
    with consumer._build_consumer(callback=took, on_connect_callback=None):
        say("ready")
        consumer._drain_events_loop()
elif what == "mozillapulse publisher":
    publisher = GenericPublisher(pulse(), exchange)
    for bug in bugs:
        publisher.publish(Bug(bug))
elif what in ("kombu consumer", "kombu consumer of a queue that is not durable"):
    is_durable = what == "kombu consumer"
    queue = Queue(f"queue/{user}/{LABEL}", Exchange(exchange, "topic", passive=True), "#", durable=is_durable, auto_delete=not is_durable)
    with kombu() as connection, connection.Consumer(queue, callbacks=[took]):
        say("ready")
        while True:
            connection.drain_events()
elif what == "kombu publisher":
    with kombu() as connection:
        producer = Producer(connection, Exchange(exchange, "topic"))
        for bug in bugs:
            body = {"payload": {"id": int(bug), "delta_ts": "2014-04-03T21:13:45"}, "_meta": {"exchange": exchange}}
            producer.publish(body, routing_key=bug)
