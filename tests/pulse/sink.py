"""Takes mail by SMTP on one port and posts by HTTP on another, and appends each as a JSON object to a file. Knows STARTTLS where
it has a certificate."""

import email
import email.policy
import http.server
import json
import ssl
import sys
import threading

from aiosmtpd.controller import Controller

mail_port, web_port, path, certificates = sys.argv[1:]
lock = threading.Lock()


def keep(item):
    with lock, open(path, "a") as file:
        print(json.dumps(item), file=file, flush=True)


class Mail:
    async def handle_DATA(self, server, session, envelope):
        if "refused@" in envelope.rcpt_tos[0]:
            return "550 no such mailbox"
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        keep({"way": "mail", "to": envelope.rcpt_tos, "from": envelope.mail_from, "tls": session.ssl is not None,
              "subject": message["Subject"], "text": message.get_content()})
        return "250 OK"


class Web(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        keep({"way": "webhook", "signature": self.headers["X-Hub-Signature-256"], "body": body})
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


tls = None
if certificates:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificates + "/server.pem", certificates + "/server.key")
Controller(Mail(), hostname="127.0.0.1", port=int(mail_port), tls_context=tls, require_starttls=bool(tls)).start()
web = http.server.ThreadingHTTPServer(("127.0.0.1", int(web_port)), Web)
print("ready", flush=True)
web.serve_forever()
