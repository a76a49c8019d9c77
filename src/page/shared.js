// One feed for all tabs: a SharedWorker has the connection, and each tab a SharedFeed. Where there are no SharedWorkers, a tab has
// a connection of its own, behind the same door.

import { Bugzfeed } from "./bugzfeed.js";

const BEAT_MS = 5_000;
// A worker that is silent for so many beats has ended, or hangs.
const BEATS_MAX = 4;
const SHOWN_MAX = 1_000;

/** Serves the feed at this address to the ports of tabs: returns what takes each new port. */
export function serve(url) {
  const ports = new Set();
  // The first tab says whether it has one before anything is connected.
  let token = null;
  let begin;
  const begun = new Promise((resolve) => (begin = resolve));
  const feed = new Bugzfeed(url, { token: () => begun.then(() => token) });
  const tellAll = (message) => ports.forEach((port) => port.postMessage(message));
  const state = () => ({ kind: "state", state: feed.state, retryAt: feed.retryAt, lost: feed.lost, source: feed.source, place: feed.place });
  feed.addEventListener("state", () => tellAll(state()));
  feed.addEventListener("incomplete", ({ bugs, since }) => tellAll({ kind: "incomplete", bugs, since }));
  feed.addEventListener("refused", ({ bugs, reason }) => tellAll({ kind: "refused", bugs, reason }));
  feed.addEventListener("denied", ({ bugs }) => tellAll({ kind: "denied", bugs }));
  setInterval(() => tellAll({ kind: "beat", place: feed.place }), BEAT_MS);
  return (port) => {
    const subscriptions = new Map();
    ports.add(port);
    const orders = {
      subscribe({ id, bugs, since }) {
        const subscription = feed.subscribe(bugs, (update) => port.postMessage({ kind: "update", id, ...update }), { since });
        subscriptions.set(id, subscription);
        subscription.ready.then((facts) => port.postMessage({ kind: "ready", id, ...facts }), () => {});
      },
      close({ id }) {
        subscriptions.get(id)?.close();
        subscriptions.delete(id);
      },
      wake() {
        feed.wake();
      },
      show(shown) {
        const isNew = shown.token && shown.token !== token;
        if (isNew) token = shown.token;
        begin();
        if (isNew) feed.reconnect();
      },
      leave() {
        for (const subscription of subscriptions.values()) subscription.close();
        ports.delete(port);
      },
    };
    port.onmessage = ({ data }) => data.forEach((facts) => orders[facts.order](facts));
    port.postMessage(state());
  };
}

/** A tab's part of a feed that tabs share; to its owner, a Bugzfeed. */
export class SharedFeed extends EventTarget {
  state = "connecting";
  retryAt = null;
  lost = null;
  source = null;
  #url;
  #name;
  #port;
  #isAlone = false;
  #generation = 0;
  #missed = 0;
  #place = null;
  #token;
  #ids = 0;
  #orders = [];
  // id → { bugs, since, onUpdate, shown, repeats, ready }
  #subscriptions = new Map();

  /** Tabs of one name share one connection; `token` is what the server wants, if it wants one. */
  constructor(url, name, token) {
    super();
    this.#token = token;
    this.#url = url;
    this.#name = name;
    this.#connect();
    setInterval(() => (this.#missed += 1) > BEATS_MAX && this.#restart(), BEAT_MS);
    addEventListener("pagehide", () => {
      this.#order("leave");
      this.#sendOrders();
    });
    addEventListener("pageshow", ({ persisted }) => persisted && this.#restart());
    addEventListener("online", () => this.wake());
    document.addEventListener("visibilitychange", () => document.hidden || this.wake());
  }

  subscribe(bugs, onUpdate, { since } = {}) {
    const id = (this.#ids += 1);
    const subscription = { bugs, since, onUpdate, shown: new Map(), repeats: new Map() };
    const ready = new Promise((resolve) => (subscription.ready = resolve));
    this.#subscriptions.set(id, subscription);
    this.#order("subscribe", { id, bugs, since });
    return { ready, close: () => this.#subscriptions.delete(id) && this.#order("close", { id }) };
  }

  wake() {
    this.#order("wake");
  }

  /** Shows the server a token, now and on each connection to come. */
  show(token) {
    this.#token = token;
    this.#order("show", { token });
  }

  #connect() {
    this.#port = this.#openPort();
    this.#port.onmessage = ({ data }) => this.#hear(data);
    this.show(this.#token);
  }

  #openPort() {
    if (!this.#isAlone && typeof SharedWorker === "function") {
      try {
        const name = `${this.#name} ${this.#generation} ${this.#url}`;
        const worker = new SharedWorker(new URL("worker.js", document.baseURI), { type: "module", name });
        worker.onerror = () => {
          this.#isAlone = true;
          this.#restart();
        };
        return worker.port;
      } catch {
        // A browser may forbid it to a page.
      }
    }
    const { port1, port2 } = new MessageChannel();
    serve(this.#url)(port2);
    return port1;
  }

  // With another worker, from where the last one was.
  #restart() {
    this.#order("leave");
    this.#sendOrders();
    this.#missed = 0;
    this.#generation += 1;
    this.#connect();
    for (const [id, subscription] of this.#subscriptions) {
      subscription.since = this.#place ?? subscription.since;
      subscription.repeats = new Map(subscription.shown);
      this.#order("subscribe", { id, bugs: subscription.bugs, since: subscription.since });
    }
  }

  // Many subscriptions in a row are one message, to the worker and so to the server.
  #order(order, facts = {}) {
    this.#orders.push({ order, ...facts });
    if (this.#orders.length === 1) queueMicrotask(() => this.#sendOrders());
  }

  #sendOrders() {
    if (this.#orders.length > 0) this.#port.postMessage(this.#orders);
    this.#orders = [];
  }

  #hear(message) {
    this.#missed = 0;
    if (message.place !== undefined) this.#place = message.place;
    const subscription = this.#subscriptions.get(message.id);
    if (message.kind === "update" && subscription) this.#handOver(subscription, message);
    if (message.kind === "ready" && subscription) {
      subscription.repeats.clear();
      subscription.ready({ complete: message.complete, denied: message.denied });
    }
    if (message.kind === "state") {
      Object.assign(this, { state: message.state, retryAt: message.retryAt, lost: message.lost, source: message.source });
      this.dispatchEvent(new Event("state"));
    }
    if (["incomplete", "refused", "denied"].includes(message.kind)) this.dispatchEvent(Object.assign(new Event(message.kind), message));
  }

  #handOver({ shown, repeats, onUpdate }, { bug, when }) {
    const key = `${bug} ${when}`;
    const left = repeats.get(key) ?? 0;
    if (left > 0) return void repeats.set(key, left - 1);
    shown.set(key, (shown.get(key) ?? 0) + 1);
    if (shown.size > SHOWN_MAX) shown.delete(shown.keys().next().value);
    onUpdate({ bug, when });
  }
}
