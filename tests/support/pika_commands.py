"""Does what the tests say, one JSON object a line, and answers each with one: {"result": …} or {"error": …}."""

import json
import struct
import sys
import time

import pika
import pika.data
import pika.exceptions


class Raw(bytes):
    """A header's value as it goes over the wire, type and all."""


encode_any_value = pika.data.encode_value


def encode_value(pieces, value):
    if isinstance(value, Raw):
        pieces.append(bytes(value))
        return len(value)
    return encode_any_value(pieces, value)


pika.data.encode_value = encode_value


def nested(depth):
    value = b""
    for _ in range(depth):
        value = b"A" + struct.pack(">I", len(value)) + value
    return Raw(value)


HEADERS = {
    "nested headers": {"x": nested(20_000)},
    "headers that are not UTF-8": {"x": Raw(b"S\0\0\0\2\xff\xfe")},
    "headers of an unknown type": {"x": Raw(b"?\0\0\0\2\xff\xfe")},
}
BODIES = {
    "a body that is not UTF-8": b'{"payload":{"id":1,"delta_ts":"2014-04-03T21:13:45"},"x":"\xff"}',
    "an empty body": b"",
    "a body of 3 MB": b" " * 3_000_000,
    "a body nested deeply": b'{"payload":' + b"[" * 500_000,
}


def update(bug):
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    return json.dumps({"payload": {"id": bug, "delta_ts": now}, "_meta": {"exchange": "not to be trusted"}})


class Commands:
    def __init__(self, port):
        self.port = port
        self.connect()

    def connect(self):
        credentials = pika.PlainCredentials("guest", "guest")
        parameters = pika.ConnectionParameters("127.0.0.1", self.port, credentials=credentials, heartbeat=0)
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()
        self.confirmed = self.connection.channel()
        self.confirmed.confirm_delivery()
        self.queue = None

    def declare(self, exchange, kind="topic"):
        self.channel.exchange_declare(exchange, kind, durable=True)

    def declare_queue(self, queue, arguments):
        self.channel.queue_declare(queue, durable=True, arguments=arguments)

    def delete_exchange(self, exchange):
        self.channel.exchange_delete(exchange)

    def delete_queue(self, queue):
        self.channel.queue_delete(queue)

    def publish(self, exchange, body, headers=None, key="1234", id=None):
        properties = pika.BasicProperties(content_type="application/json", delivery_mode=2, headers=headers, message_id=id)
        self.confirmed.basic_publish(exchange, key, body, properties)

    def publish_many(self, exchange, first, end, when):
        properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
        for bug in range(first, end):
            body = json.dumps({"payload": {"id": bug, "delta_ts": when}})
            self.channel.basic_publish(exchange, str(bug), body, properties)

    def stream(self, exchange, first, end):
        for bug in range(first, end):
            while True:
                try:
                    self.publish(exchange, update(bug), key=str(bug))
                    break
                except (pika.exceptions.AMQPError, OSError):
                    self.connect_again()

    def publish_transient(self, exchange, bug):
        self.confirmed.basic_publish(exchange, str(bug), update(bug), pika.BasicProperties(delivery_mode=1))

    def connect_again(self):
        while True:
            try:
                return self.connect()
            except (pika.exceptions.AMQPError, OSError):
                time.sleep(0.05)

    def publish_hostile(self, exchange, kind):
        body = '{"payload":{"id":1,"delta_ts":"2014-04-03T21:13:45"}}'
        self.publish(exchange, BODIES.get(kind, body), HEADERS.get(kind), key="żółw" if kind == "a strange routing key" else "1")

    def listen(self, exchange):
        self.queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.queue_bind(self.queue, exchange, "#")

    def get(self):
        method, properties, body = next(self.channel.consume(self.queue, auto_ack=True))
        self.channel.cancel()
        return {
            "body": body.decode(),
            "routing_key": method.routing_key,
            "content_type": properties.content_type,
            "delivery_mode": properties.delivery_mode,
            "message_id": properties.message_id,
        }

    def count(self, queue):
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def put(self, queue, body):
        self.confirmed.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))

    def bind(self, queue, exchange):
        self.channel.queue_bind(queue, exchange, "#")

    def keep(self, queue, exchange):
        self.channel.queue_declare(queue, durable=True)
        self.channel.queue_bind(queue, exchange, "#")

    def keep_few(self, queue, exchange, limit):
        arguments = {"x-max-length": limit, "x-overflow": "reject-publish"}
        self.channel.queue_declare(queue, durable=True, arguments=arguments)
        self.channel.queue_bind(queue, exchange, "#")

    def drain(self, queue):
        bugs = []
        while True:
            method, _, body = self.channel.basic_get(queue, auto_ack=True)
            if method is None:
                return bugs
            bugs.append(json.loads(body)["payload"]["id"])


commands = Commands(int(sys.argv[1]))
for line in sys.stdin:
    arguments = json.loads(line)
    try:
        answer = {"result": getattr(commands, arguments.pop("do"))(**arguments)}
    except Exception as error:  # the test says what is wrong
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
