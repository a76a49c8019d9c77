// A WebSocket for Node.js versions that have none of their own (before 22): as much of RFC 6455 and of the browsers' interface
// as bugzfeed.js needs. It knows no protocol above it.

import { createHash, randomBytes } from "node:crypto";
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10];
// A server's messages are an update, or a list of at most some 10,000 bugs.
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
const CLOSE_PATIENCE_MS = 2_000;

/** A client's WebSocket: events open, message, close and error; send(text) and close(code). */
export class NodeWebSocket extends EventTarget {
  #request;
  #stream = null;
  #received = Buffer.alloc(0);
  #fragments = [];
  #hasEnded = false;

  constructor(address, protocols = []) {
    super();
    const url = new URL(address);
    const isSecure = url.protocol === "wss:";
    url.protocol = isSecure ? "https:" : "http:";
    const key = randomBytes(16).toString("base64");
    const headers = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key };
    if (protocols.length > 0) headers["Sec-WebSocket-Protocol"] = protocols.join(", ");
    this.#request = (isSecure ? requestHttps : requestHttp)(url, { headers });
    this.#request.on("upgrade", (response, stream, head) => this.#upgraded(response, stream, head, key));
    this.#request.on("response", (response) => {
      response.destroy();
      this.#end(1006, `the server answers ${response.statusCode}`);
    });
    this.#request.on("error", (error) => this.#end(1006, error.message));
    this.#request.end();
  }

  send(text) {
    this.#write(TEXT, Buffer.from(text));
  }

  close(code = 1000) {
    if (this.#stream === null) return this.#end(1006, "closed before it was open");
    this.#write(CLOSE, Buffer.from([code >> 8, code & 255]));
    setTimeout(() => this.#end(1006, ""), CLOSE_PATIENCE_MS).unref();
  }

  #upgraded(response, stream, head, key) {
    const accept = createHash("sha1").update(key + GUID).digest("base64");
    if (response.headers["sec-websocket-accept"] !== accept) {
      stream.destroy();
      return this.#end(1002, "the answer to the handshake is wrong");
    }
    this.#stream = stream;
    stream.setNoDelay(true);
    stream.on("data", (bytes) => this.#read(bytes));
    stream.on("error", (error) => this.#end(1006, error.message));
    stream.on("close", () => this.#end(1006, ""));
    this.dispatchEvent(new Event("open"));
    if (head.length > 0) this.#read(head);
  }

  #read(bytes) {
    this.#received = Buffer.concat([this.#received, bytes]);
    for (let frame; !this.#hasEnded && (frame = this.#nextFrame());) this.#handle(frame);
  }

  // RFC 6455 section 5.2. A server masks nothing.
  #nextFrame() {
    const bytes = this.#received;
    if (bytes.length < 2) return null;
    let [length, start] = [bytes[1] & 127, 2];
    if (length === 126) {
      if (bytes.length < 4) return null;
      [length, start] = [bytes.readUInt16BE(2), 4];
    } else if (length === 127) {
      if (bytes.length < 10) return null;
      [length, start] = [Number(bytes.readBigUInt64BE(2)), 10];
    }
    if (length > MESSAGE_BYTES_MAX || bytes[1] & 128 || bytes[0] & 112) {
      this.#end(1002, "the server sent a frame that is none");
      return null;
    }
    if (bytes.length < start + length) return null;
    this.#received = bytes.subarray(start + length);
    return { isLast: (bytes[0] & 128) !== 0, kind: bytes[0] & 15, payload: bytes.subarray(start, start + length) };
  }

  #handle({ isLast, kind, payload }) {
    if (kind === PING) return this.#write(PONG, payload);
    if (kind === CLOSE) {
      const code = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
      this.#write(CLOSE, payload.subarray(0, 2));
      return this.#end(code, payload.subarray(2).toString());
    }
    if (kind !== CONTINUATION && kind !== TEXT && kind !== BINARY) return;
    this.#fragments.push(payload);
    if (!isLast) return;
    const text = Buffer.concat(this.#fragments).toString();
    this.#fragments = [];
    this.dispatchEvent(Object.assign(new Event("message"), { data: text }));
  }

  // RFC 6455 section 5.3: what a client sends is masked.
  #write(kind, payload) {
    if (this.#hasEnded) return;
    const extended = payload.length < 126 ? 0 : payload.length < 65_536 ? 2 : 8;
    const head = Buffer.alloc(2 + extended);
    head[0] = 128 | kind;
    head[1] = 128 | (extended === 0 ? payload.length : extended === 2 ? 126 : 127);
    if (extended === 2) head.writeUInt16BE(payload.length, 2);
    if (extended === 8) head.writeBigUInt64BE(BigInt(payload.length), 2);
    const mask = randomBytes(4);
    this.#stream.write(Buffer.concat([head, mask, payload.map((byte, at) => byte ^ mask[at & 3])]));
  }

  #end(code, reason) {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    if (this.#stream === null) this.#request.destroy();
    else {
      this.#stream.end();
      setTimeout(() => this.#stream.destroy(), CLOSE_PATIENCE_MS).unref();
    }
    // Never within a call of its owner's, as in a browser.
    queueMicrotask(() => this.dispatchEvent(Object.assign(new Event("close"), { code, reason })));
  }
}
