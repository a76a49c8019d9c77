// A client of a bugzfeed server, for browsers and Node.js 20 or later, without dependencies. It speaks docs/protocol.md, comes
// back after every loss, and asks for what it has missed.
//
//   const feed = new Bugzfeed("wss://bugzfeed.example.org/");
//   feed.addEventListener("incomplete", ({ bugs }) => { /* ask Bugzilla itself once what became of these */ });
//   feed.subscribe([1234, 5678], ({ bug, when }) => console.log(`bug ${bug} changed at ${when}`));

const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 30_000;
// With full jitter and this growth, a server that was away for a time is found again within about that time.
const RETRY_GROWTH = 1.5;
// A connection that lived for so long was a good one. Forgetting earlier failures sooner would let a server that accepts and
// closes at once get two connections a second, for ever.
const STEADY_MS = 10_000;
// A browser shows no pings, and a connection that a network has lost says nothing, for ever. So the server is asked how it is; it
// answers at once, or within five seconds while it looks for missed changes.
const SILENCE_MAX_MS = 30_000;
const ANSWER_MAX_MS = 15_000;
// A timer that comes later than this has slept with its machine.
const SLEEP_MS = 10_000;
// A server remembers 10,000 updates by default: what it can repeat is recognised.
const SHOWN_MAX = 10_000;
// An iterator that is not read keeps so many updates, and then the newest one of each bug.
const QUEUE_MAX = 1_000;
// Where a server does not say where its feed stands, this device's clock does until the first update. It may be a little ahead.
const CLOCK_MARGIN_MS = 60_000;
// A time further ahead than this is a mistake of somebody, and no time to resume from: a server would believe it no more.
const AHEAD_MAX_MS = 86_400_000;
const BUG_MAX = 2 ** 31 - 1;
// All bugs, where the server offers them.
const ALL = "*";
const BEFORE_ALL = "1970-01-01T00:00:00";
// What a subprotocol can be, and so a token.
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;

/** One feed of a server, over all its connections. The types stand in bugzfeed.d.ts. */
export class Bugzfeed extends EventTarget {
  #url;
  #settings;
  #WebSocket = null;
  #socket = null;
  #isOpen = false;
  #state = "connecting";
  #openedAt = 0;
  #failures = 0;
  #retryAt = null;
  #retryTimer;
  #lookTimer;
  #lookedAt = 0;
  #heardAt = 0;
  #askedAt = 0;
  // When a server that owes an answer is given up.
  #answerDue = Infinity;
  #lost = null;
  #source = null;

  #wants = new Set();
  // bug → the wants that it is in.
  #wantsOf = new Map();
  // Bugs that nobody wants any more and the server still sends.
  #dropped = new Set();
  #isFlushDue = false;
  // Commands without a reply, oldest first. Only the order, which the server keeps, ties a reply to its command.
  #unanswered = [];
  // Where to resume what is settled: all that arrived up to this time has been handed over.
  #newest = null;

  #wake = () => this.wake();
  #wakeIfVisible = () => document.hidden || this.wake();

  constructor(url, options = {}) {
    super();
    this.#url = feedUrl(url);
    this.#settings = { retryFirst: RETRY_FIRST_MS, retryMax: RETRY_MAX_MS, silenceMax: SILENCE_MAX_MS, answerMax: ANSWER_MAX_MS, ...options };
    this.#listen(true);
    this.#lookedAt = Date.now();
    this.#lookTimer = setInterval(() => this.#look(), Math.min(5_000, this.#settings.silenceMax / 3, this.#settings.answerMax / 3));
    const { signal } = options;
    if (signal?.aborted) this.close();
    else signal?.addEventListener("abort", () => this.close(), { once: true });
    // Whoever made this subscribes first, and listens.
    queueMicrotask(() => this.#connect());
  }

  /** The address of the feed. */
  get url() {
    return this.#url.href;
  }

  /** "connecting", "live", "waiting" (until retryAt) or "closed". */
  get state() {
    return this.#state;
  }

  /** When the next attempt is due, as Date.now() counts; null unless waiting. */
  get retryAt() {
    return this.#retryAt;
  }

  /** How the last connection ended: { code, reason, wasOpen }; null before the first end. */
  get lost() {
    return this.#lost;
  }

  /** Whether the server reads Bugzilla's changes, "up" or "down", as far as it has said so; null otherwise. */
  get source() {
    return this.#source;
  }

  /** Where the feed stands: what to give as `since` to go on from here in another run. Null before the first subscription. */
  get place() {
    return this.#newest;
  }

  /** All bugs that are subscribed by their numbers, ascending. */
  get bugs() {
    return [...this.#wantsOf.keys()].filter((bug) => bug !== ALL).sort((a, b) => a - b);
  }

  /** Calls onUpdate for each change to these bugs ("*": to all) from now on, or from `since` on. Without onUpdate, iterate over what this returns. */
  subscribe(bugs, onUpdate, options) {
    if (typeof onUpdate !== "function") [onUpdate, options] = [null, onUpdate];
    if (this.#state === "closed") throw new Error("the feed is closed");
    const want = new Want(bugIds(bugs), onUpdate, sinceTime(options?.since));
    for (const bug of want.bugs) {
      if (!this.#wantsOf.has(bug)) this.#wantsOf.set(bug, new Set());
      this.#wantsOf.get(bug).add(want);
    }
    this.#wants.add(want);
    this.#flushSoon();
    const { signal } = options ?? {};
    const subscription = new Subscription(want, () => this.#drop(want));
    if (signal?.aborted) subscription.close();
    else signal?.addEventListener("abort", () => subscription.close(), { once: true });
    return subscription;
  }

  /** The network, the machine or the reader is back: a wait ends now, and a connection is looked at. */
  wake() {
    if (this.#state === "closed" || this.#WebSocket === null) return;
    if (this.#socket === null) this.#connect();
    else this.#ask();
  }

  /** Connects anew, with what `token` says by now. */
  reconnect() {
    if (this.#socket !== null) {
      this.#socket.close();
      this.#ended(1000, "");
    }
    this.wake();
  }

  /** Ends the connection and all subscriptions, for good. */
  close() {
    if (this.#state === "closed") return;
    this.#become("closed");
    clearInterval(this.#lookTimer);
    clearTimeout(this.#retryTimer);
    this.#listen(false);
    for (const want of this.#wants) want.end();
    this.#wants.clear();
    this.#wantsOf.clear();
    this.#socket?.close(1000);
    this.#socket = null;
    this.#isOpen = false;
  }

  [Symbol.dispose ?? Symbol.for("Symbol.dispose")]() {
    this.close();
  }

  // ---- Connection ----

  async #connect() {
    if (this.#state === "closed" || this.#socket !== null) return;
    clearTimeout(this.#retryTimer);
    this.#retryAt = null;
    this.#become("connecting");
    this.#WebSocket ??= this.#settings.WebSocket ?? platformWebSocket() ?? (await import("./node-websocket.js")).NodeWebSocket;
    let protocols;
    try {
      protocols = await this.#protocols();
    } catch (error) {
      if (this.#state !== "closed" && this.#socket === null) this.#ended(1006, error.message);
      return;
    }
    // Closed, or connected by somebody else, meanwhile.
    if (this.#state === "closed" || this.#socket !== null) return;
    const mine = new this.#WebSocket(this.#url.href, protocols);
    this.#socket = mine;
    this.#answerDue = performance.now() + this.#settings.answerMax;
    // One that was given up may still have something to say.
    const ifCurrent = (act) => (event) => this.#socket === mine && act(event);
    mine.addEventListener("open", ifCurrent(() => this.#opened()));
    mine.addEventListener("message", ifCurrent((event) => this.#receive(event.data)));
    mine.addEventListener("close", ifCurrent((event) => this.#ended(event.code, event.reason)));
    // It is followed by a close, except in some Node.js.
    mine.addEventListener("error", () => setTimeout(ifCurrent(() => this.#ended(1006, "")), 50));
  }

  // A browser lets nobody add a header field: a token goes as a subprotocol, and beside it the one that is answered.
  async #protocols() {
    const { token } = this.#settings;
    const shown = typeof token === "function" ? await token() : token;
    if (shown && !TOKEN.test(shown)) throw new TypeError("the token has characters that no token has");
    return shown ? ["bugzfeed", `bearer.${shown}`] : [];
  }

  #opened() {
    this.#isOpen = true;
    this.#answerDue = Infinity;
    this.#heardAt = this.#openedAt = performance.now();
    this.#retryAt = null;
    this.#flush();
    this.#ask();
    this.#become("live");
  }

  #ended(code, reason) {
    const wasOpen = this.#isOpen;
    this.#socket = null;
    this.#isOpen = false;
    this.#answerDue = Infinity;
    this.#unanswered = [];
    this.#dropped.clear();
    for (const want of this.#wants) want.isSent = false;
    if (wasOpen && performance.now() - this.#openedAt >= STEADY_MS) this.#failures = 0;
    const { retryFirst, retryMax } = this.#settings;
    const pause = Math.random() * Math.min(retryMax, retryFirst * RETRY_GROWTH ** this.#failures);
    this.#failures += 1;
    this.#lost = { code, reason, wasOpen };
    this.#retryAt = Date.now() + pause;
    // Nothing shorter than a timer's tick may become a busy loop.
    this.#retryTimer = setTimeout(() => this.#connect(), Math.max(pause, 10));
    this.#become("waiting");
  }

  // A browser would wait long for the server's part of a close.
  #giveUp() {
    this.#socket.close();
    this.#ended(1006, "the server does not answer");
  }

  // Is the server still there?
  #look() {
    const slept = Date.now() - this.#lookedAt > SLEEP_MS + 5_000;
    this.#lookedAt = Date.now();
    if (slept) return this.wake();
    if (this.#socket === null) return;
    const now = performance.now();
    if (now >= this.#answerDue) this.#giveUp();
    else if (this.#isOpen && this.#unanswered.length === 0 && now - this.#askedAt >= this.#settings.silenceMax) this.#ask();
  }

  // An older server knows no such command, and says so: that is an answer, too. Others tell from then on when that changes.
  #ask() {
    if (this.#isOpen) this.#send({ command: "status", feed: true }, ({ source = null }) => this.#become(this.#state, source));
  }

  #become(state, source = this.#source) {
    if (this.#state === state && this.#source === source && state !== "waiting") return;
    this.#state = state;
    this.#source = source;
    this.dispatchEvent(new Event("state"));
  }

  #listen(isWanted) {
    if (typeof globalThis.addEventListener !== "function") return;
    const change = isWanted ? "addEventListener" : "removeEventListener";
    for (const sign of ["online", "pageshow"]) globalThis[change](sign, this.#wake);
    globalThis.navigator?.connection?.[change]?.("change", this.#wake);
    globalThis.document?.[change]("visibilitychange", this.#wakeIfVisible);
    globalThis.document?.[change]("resume", this.#wake);
  }

  // ---- Commands ----

  #send(command, answered = () => {}) {
    this.#askedAt = performance.now();
    this.#unanswered.push(answered);
    if (this.#answerDue === Infinity) this.#answerDue = performance.now() + this.#settings.answerMax;
    this.#socket.send(JSON.stringify(command));
  }

  // Many subscriptions in a row are one message.
  #flushSoon() {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    queueMicrotask(() => {
      this.#isFlushDue = false;
      if (this.#isOpen) this.#flush();
    });
  }

  // Tells the server what it does not know yet, in a few messages, however many subscriptions there are.
  #flush() {
    const dropped = [...this.#dropped].filter((bug) => !this.#wantsOf.has(bug));
    this.#dropped.clear();
    for (const bugs of asArguments(dropped)) this.#send({ command: "unsubscribe", bugs });
    const unsent = [...this.#wants].filter((want) => !want.isSent);
    if (unsent.length === 0) return;
    const batch = { wants: unsent, watermark: null, denied: new Set(), sentAt: Date.now() };
    const past = unsent.filter((want) => !want.isSettled && want.since);
    this.#sendSubscribe(batch, unsent.filter((want) => want.isSettled), this.#newest);
    this.#sendSubscribe(batch, past, past.map((want) => want.since).sort()[0]);
    this.#sendSubscribe(batch, unsent.filter((want) => !want.isSettled && !want.since), null);
    // The updates that were missed follow their reply at once, so the next reply marks their end.
    this.#send({ command: "version" }, () => this.#settle(batch));
  }

  #sendSubscribe(batch, wants, since) {
    for (const want of wants) want.isSent = true;
    for (const bugs of asArguments(new Set(wants.flatMap((want) => want.bugs)))) {
      const command = { command: "subscribe", bugs, ...(since ? { since } : { watermark: true }) };
      this.#send(command, (reply) => this.#subscribed(reply, batch, bugs, since));
    }
  }

  #drop(want) {
    if (!this.#wants.delete(want)) return;
    for (const bug of want.bugs) {
      const wants = this.#wantsOf.get(bug);
      wants.delete(want);
      if (wants.size > 0) continue;
      this.#wantsOf.delete(bug);
      if (this.#isOpen) this.#dropped.add(bug);
    }
    want.end();
    this.#flushSoon();
  }

  // ---- Messages ----

  #receive(text) {
    this.#heardAt = performance.now();
    const message = parse(text);
    if (message?.command === "update") {
      this.#receiveUpdate(message);
    } else if (message?.command === "feed") {
      this.#receiveState(message.state);
    } else if (message?.result !== undefined) {
      this.#unanswered.shift()?.(message);
    }
    this.#answerDue = this.#unanswered.length > 0 ? this.#heardAt + this.#settings.answerMax : Infinity;
  }

  // After a gap the server knows best what to do, as after a loss of the connection.
  #receiveState(state) {
    if (state === "up" || state === "down") return this.#become(this.#state, state);
    if (state !== "gap") return;
    for (const want of this.#wants) want.isSent = false;
    this.#flush();
  }

  #receiveUpdate({ bug, when }) {
    this.#resumeFrom(when);
    // It may have been sent before the server had read our unsubscribe.
    for (const key of [bug, ALL]) for (const want of [...(this.#wantsOf.get(key) ?? [])]) want.receive(bug, when);
  }

  #subscribed(reply, batch, bugs, since) {
    const wants = new Set([bugs].flat().flatMap((bug) => [...(this.#wantsOf.get(bug) ?? [])]));
    if (reply.result === "error") {
      for (const want of wants) if (batch.wants.includes(want)) this.#refuse(want, reply.error);
      return;
    }
    const denied = (reply.denied ?? []).filter((bug) => this.#wantsOf.has(bug));
    for (const bug of denied) batch.denied.add(bug);
    if (denied.length > 0) this.#report("denied", { bugs: denied });
    // Null is the place of a feed in which nothing has happened yet.
    if (reply.watermark !== undefined) batch.watermark = reply.watermark ?? BEFORE_ALL;
    if (!since) return;
    const isComplete = reply.complete === true;
    for (const want of wants) if (want.since && !want.isSettled) want.isComplete = isComplete && want.isComplete !== false;
    // What those have got who were there before may come again, too.
    for (const want of this.#wants) want.expectRepeats();
    if (!isComplete && wants.size > 0) this.#report("incomplete", { bugs: bugs === ALL ? ALL : bugs.filter((bug) => this.#wantsOf.has(bug)), since });
  }

  // All that was missed has come: what follows is new, even if it looks like what came before.
  #settle({ wants, watermark, denied, sentAt }) {
    const clock = new Date(sentAt - CLOCK_MARGIN_MS).toISOString().slice(0, 19);
    if (watermark !== null) this.#resumeFrom(watermark);
    else this.#newest ??= clock;
    for (const want of wants) if (this.#wants.has(want)) want.settle(want.bugs.filter((bug) => denied.has(bug)));
    for (const want of this.#wants) want.repeats.clear();
  }

  #refuse(want, reason) {
    want.refuse(new Error(`the server refused to subscribe: ${reason}`));
    this.#drop(want);
    this.#report("refused", { bugs: want.bugs[0] === ALL ? ALL : want.bugs, reason });
  }

  #resumeFrom(when) {
    if (isCredible(when) && (this.#newest === null || when > this.#newest)) this.#newest = when;
  }

  #report(type, facts) {
    this.dispatchEvent(Object.assign(new Event(type), facts));
  }
}

// What one caller of subscribe() wants, over all connections.
class Want {
  // The server knows of it, on this connection.
  isSent = false;
  // It has been subscribed once, and has got all from its own `since` on: from then on the feed's place is its place.
  isSettled = false;
  isComplete = undefined;
  // "bug when" → how often it was handed over; the oldest keys are forgotten first.
  shown = new Map();
  // "bug when" → how often it may still come again without being new.
  repeats = new Map();

  constructor(bugs, onUpdate, since) {
    this.bugs = bugs;
    this.since = since;
    this.queue = new Queue();
    this.handOver = onUpdate ? (update) => onUpdate(update) : (update) => this.queue.push(update);
    this.ready = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    // Who does not wait for it learns of a refusal by the event.
    this.ready.catch(() => {});
  }

  expectRepeats() {
    this.repeats = new Map(this.shown);
  }

  receive(bug, when) {
    const key = `${bug} ${when}`;
    const left = this.repeats.get(key) ?? 0;
    if (left > 0) return void this.repeats.set(key, left - 1);
    this.shown.set(key, (this.shown.get(key) ?? 0) + 1);
    if (this.shown.size > SHOWN_MAX) this.shown.delete(this.shown.keys().next().value);
    try {
      this.handOver({ bug, when });
    } catch (error) {
      // The caller's mistake is reported as any uncaught one, and takes no update from others.
      queueMicrotask(() => { throw error; });
    }
  }

  settle(denied) {
    this.isSettled = true;
    this.resolve({ complete: this.isComplete, denied });
  }

  refuse(error) {
    this.reject(error);
    this.queue.end(error);
  }

  end() {
    this.reject(new Error("the subscription was closed"));
    this.queue.end();
  }
}

/** What subscribe() returns. Iterating over it ends with close(). */
class Subscription {
  #want;
  #drop;

  constructor(want, drop) {
    this.#want = want;
    this.#drop = drop;
  }

  /** The bugs, ascending. */
  get bugs() {
    return this.#want.bugs;
  }

  /** Settles once the server has subscribed them and sent what was missed, with { complete, denied }. */
  get ready() {
    return this.#want.ready;
  }

  close() {
    this.#drop();
  }

  [Symbol.dispose ?? Symbol.for("Symbol.dispose")]() {
    this.close();
  }

  async *[Symbol.asyncIterator]() {
    try {
      for (let update; (update = await this.#want.queue.shift());) yield update;
    } finally {
      this.close();
    }
  }
}

// Updates that wait for their reader.
class Queue {
  #updates = [];
  #isEnded = false;
  #error = null;
  #wake = () => {};

  push(update) {
    if (this.#updates.length >= QUEUE_MAX) {
      const older = this.#updates.findIndex(({ bug }) => bug === update.bug);
      if (older !== -1) this.#updates.splice(older, 1);
    }
    this.#updates.push(update);
    this.#wake();
  }

  // The next update; undefined after the end.
  async shift() {
    while (this.#updates.length === 0 && !this.#isEnded) await new Promise((resolve) => (this.#wake = resolve));
    if (this.#updates.length === 0 && this.#error) throw this.#error;
    return this.#updates.shift();
  }

  end(error = null) {
    this.#error ??= error;
    this.#isEnded = true;
    this.#wake();
  }
}

// Before version 22, Node.js has none, or one behind a flag that does not tell of every end.
function platformWebSocket() {
  const isOldNode = Number.parseInt(globalThis.process?.versions?.node ?? "99", 10) < 22;
  return isOldNode ? null : globalThis.WebSocket;
}

function feedUrl(text) {
  const url = new URL(text, globalThis.location?.href);
  url.protocol = { "http:": "ws:", "https:": "wss:" }[url.protocol] ?? url.protocol;
  if (!/^wss?:$/.test(url.protocol)) throw new TypeError(`${url} is no address of a feed; accepted are ws:, wss:, http: and https:`);
  url.hash = "";
  return url;
}

function bugIds(bugs) {
  if (bugs === ALL) return [ALL];
  const given = ["number", "string"].includes(typeof bugs) ? [bugs] : [...bugs];
  const ids = new Set(given.map((bug) => (typeof bug === "string" && /^\d+$/.test(bug) ? Number(bug) : bug)));
  for (const id of ids) {
    if (!Number.isInteger(id) || id < 1 || id > BUG_MAX) throw new TypeError(`${String(id)} is no bug; accepted are 1 to ${BUG_MAX}, and "*" for all`);
  }
  if (ids.size === 0) throw new TypeError("subscribe takes at least one bug");
  return [...ids].sort((a, b) => a - b);
}

// The values of `bugs` in commands: all bugs are no part of a list.
function asArguments(bugs) {
  const ids = [...bugs].filter((bug) => bug !== ALL);
  return [...(ids.length > 0 ? [ids] : []), ...(ids.length < [...bugs].length ? [ALL] : [])];
}

// `since` in the one form in which times compare as texts: 2014-04-03T21:13:45.
function sinceTime(since) {
  if (since === undefined || since === null || since === "") return null;
  const text = since instanceof Date ? since.toJSON() : String(since);
  const isLocal = /^\d{4}-\d\d-\d\d[T ][\d:.]+$/.test(text);
  const time = new Date(isLocal ? `${text.replace(" ", "T")}Z` : text);
  if (Number.isNaN(time.getTime())) throw new TypeError(`${text} is no time; accepted is 2014-04-03T21:13:45, in UTC`);
  return time.toISOString().slice(0, 19);
}

// From a broker a time is passed on exactly as it came.
function isCredible(when) {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/.test(when) && Date.parse(`${when}Z`) <= Date.now() + AHEAD_MAX_MS;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
