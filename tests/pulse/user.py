"""A user of a broker, by pika. Takes a call a line, [method, arguments], and answers each with {"ok": …} or {"refused": code}."""

import json
import sys
import time

import pika
import pika.exceptions

port, name, password, vhost = sys.argv[1:]


def answer(value):
    print(json.dumps(value), flush=True)


try:
    connection = pika.BlockingConnection(
        pika.ConnectionParameters("127.0.0.1", int(port), vhost, pika.PlainCredentials(name, password), heartbeat=0)
    )
except pika.exceptions.AMQPError as error:
    answer(repr(error))
    sys.exit()
answer(None)

consuming = []


def publish(channel, exchange, key, body="x", count=1, confirm=True, **properties):
    if confirm:
        channel.confirm_delivery()
    for _ in range(count):
        channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties))


def consume(channel, queue):
    channel.basic_qos(prefetch_count=100)
    channel.basic_consume(queue, lambda *_: None)
    consuming.append(channel)


def take(channel, queue, count):
    for _ in range(count):
        method, _, _ = channel.basic_get(queue, auto_ack=True)
        if method is None:
            raise ValueError("the queue is empty")


def work(channel, queue, count):
    """Takes a moment for each message, as long as it takes."""
    channel.basic_qos(prefetch_count=20)
    for method, _, _ in channel.consume(queue):
        time.sleep(0.005)
        channel.basic_ack(method.delivery_tag)
        count -= 1
        if count == 0:
            return channel.cancel()


def is_connected(channel):
    connection.process_data_events(0)
    return connection.is_open


OWN = {"publish": publish, "consume": consume, "take": take, "work": work, "is_connected": is_connected}

for line in sys.stdin:
    method, arguments = json.loads(line)
    try:
        channel = connection.channel()
        if method in OWN:
            result = OWN[method](channel, **arguments)
        else:
            result = getattr(channel, method)(**arguments)
            result = getattr(getattr(result, "method", None), "message_count", None)
        if channel not in consuming:
            channel.close()
        answer({"ok": result})
    except pika.exceptions.ChannelClosedByBroker as error:
        answer({"refused": error.reply_code})
    except pika.exceptions.AMQPError as error:
        answer({"refused": getattr(error, "reply_code", 0)})
