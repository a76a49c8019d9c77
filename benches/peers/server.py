"""A server in the shape of Mozilla's original Bugzfeed, on Tornado: `server.py PORT CONTROL`.

Updates come as lines "BUG WHEN" at the port CONTROL.
"""

import json
import socket
import sys

import tornado.ioloop
import tornado.iostream
import tornado.netutil
import tornado.tcpserver
import tornado.web
import tornado.websocket

subscribers = {}


class Handler(tornado.websocket.WebSocketHandler):
    def open(self):
        self.bugs = set()

    def check_origin(self, origin):
        return True

    def on_message(self, message):
        command = json.loads(message)
        for bug in command["bugs"]:
            self.bugs.add(bug)
            subscribers.setdefault(bug, set()).add(self)
        self.write_message(json.dumps({"command": "subscribe", "result": "ok", "bugs": sorted(self.bugs)}))

    def on_close(self):
        for bug in self.bugs:
            subscribers[bug].discard(self)
            if not subscribers[bug]:
                del subscribers[bug]


class Control(tornado.tcpserver.TCPServer):
    async def handle_stream(self, stream, address):
        while True:
            try:
                line = await stream.read_until(b"\n")
            except tornado.iostream.StreamClosedError:
                return
            bug, when = line.decode().split()
            text = json.dumps({"command": "update", "bug": int(bug), "when": when})
            for handler in list(subscribers.get(int(bug), ())):
                handler.write_message(text)


def main():
    port, control = (int(argument) for argument in sys.argv[1:3])
    server = tornado.web.Application([("/", Handler)])
    # The default of 128 would lose most of a storm.
    sockets = tornado.netutil.bind_sockets(port, "127.0.0.1", socket.AF_INET, backlog=4096)
    from tornado.httpserver import HTTPServer

    HTTPServer(server).add_sockets(sockets)
    Control().listen(control, "127.0.0.1")
    tornado.ioloop.IOLoop.current().start()


main()
