// The inspector's page: shows what goes by on a Pulse. Keeps what it looks at in the address's fragment, as
// EXCHANGE:PATTERN&…, and stores nothing.

import { treeOf } from "./tree.js";

const ROWS_MAX = 500;
// What is kept of bodies, in characters: 500 messages of 1 MiB each would be more than a phone has.
const KEPT_CHARACTERS_MAX = 16 << 20;
const SHORT_CHARACTERS_MAX = 300;
// What comes in so short a time is shown at once.
const RENDER_EVERY_MS = 50;
const RATE_SECONDS = 10;
const RECONNECT_EVERY_MS = 2_000;
const NAME_BYTES_MAX = 255;

const element = (id) => document.getElementById(id);
const wholeNumber = new Intl.NumberFormat("en-GB");
const localMoment = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

// "EXCHANGE:PATTERN" → { exchange, pattern, item }.
const bindings = new Map();
let isRunning = true;
let socket = null;
let state = "connecting";

// What has come and is not shown yet, in order.
let arrived = [];
let renderTimer = 0;
// What is shown, newest first: { message, item }.
const rows = [];
let keptCharacters = 0;
let filter = "";

let received = 0;
let receivedBytes = 0;
const receivedByExchange = new Map();
// How many came in each of the last seconds, by the second.
const receivedBySecond = new Map();

// ---- Connection ----

function connect() {
  socket = new WebSocket(new URL(location.pathname, location.href).href.replace(/^http/, "ws"));
  socket.addEventListener("open", () => {
    for (const { exchange, pattern } of bindings.values()) send({ command: "bind", exchange, pattern });
    if (isRunning) send({ command: "start" });
    else setState("stopped");
  });
  socket.addEventListener("message", ({ data }) => receive(JSON.parse(data)));
  socket.addEventListener("close", () => {
    socket = null;
    for (const { item } of bindings.values()) item.classList.add("pending");
    setState("gone");
    setTimeout(connect, RECONNECT_EVERY_MS);
  });
}

function send(wish) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(wish));
}

function receive({ message, state: newState, why, bound, refused }) {
  if (message) return arrive(message);
  if (newState) return setState(newState, why);
  if (bound) bindings.get(keyOf(bound))?.item.classList.remove("pending");
  if (refused && bindings.delete(keyOf(refused))) {
    bindingsChanged();
    addNotice(`${keyOf(refused)} cannot be looked at: ${refused.why}.`);
  }
}

const STATES = {
  connecting: "Connecting",
  live: "Live",
  stopped: "Stopped",
  waiting: "Broker out of reach",
  gone: "The inspector is gone",
};

function setState(name, why) {
  state = name;
  element("connection").dataset.state = name === "waiting" || name === "gone" ? "offline" : name;
  element("state").textContent = STATES[name];
  if (name === "waiting") addNotice(`The broker cannot be looked at: ${why}. Trying again.`);
  if (name !== "live") for (const { item } of bindings.values()) item.classList.add("pending");
  renderEmpty();
}

function toggleRun() {
  isRunning = !isRunning;
  element("run").textContent = isRunning ? "Stop" : "Start";
  if (isRunning) setState("connecting");
  send({ command: isRunning ? "start" : "stop" });
}

// ---- What is looked at ----

function keyOf({ exchange, pattern }) {
  return `${exchange}:${pattern}`;
}

function bind(exchange, pattern) {
  const key = keyOf({ exchange, pattern });
  if (bindings.has(key)) return;
  bindings.set(key, { exchange, pattern, item: bindingItem(exchange, pattern) });
  send({ command: "bind", exchange, pattern });
}

function unbind(key) {
  const { exchange, pattern } = bindings.get(key);
  bindings.delete(key);
  send({ command: "unbind", exchange, pattern });
}

function bindingItem(exchange, pattern) {
  const item = element("binding-template").content.cloneNode(true).firstElementChild;
  const key = keyOf({ exchange, pattern });
  item.classList.add("pending");
  item.querySelector(".name").textContent = `${exchange} ${pattern}`;
  const button = item.querySelector("button");
  button.setAttribute("aria-label", `Remove ${key}`);
  button.addEventListener("click", () => {
    const place = [...bindings.keys()].indexOf(key);
    unbind(key);
    bindingsChanged();
    // The button is gone: its neighbour takes the focus, so that keyboard users keep their place.
    const buttons = element("bindings").querySelectorAll("button");
    (buttons[Math.min(place, buttons.length - 1)] ?? element("exchange")).focus();
  });
  return item;
}

function bindingsChanged() {
  const readable = (text) => encodeURIComponent(text).replace(/%2F/g, "/").replace(/%3A/g, ":");
  const fragment = [...bindings.keys()].map(readable).join("&");
  // A replaced address keeps the Back button for pages, and raises no hashchange.
  history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname);
  element("bindings").replaceChildren(...[...bindings.values()].map(({ item }) => item));
  element("bound").hidden = bindings.size === 0;
  renderEmpty();
}

// The fragment is what is looked at: at load, and whenever somebody edits it. As on the command line, a name without a
// pattern stands for all of an exchange.
function readFragment() {
  const wanted = new Map();
  for (const part of location.hash.slice(1).split("&").filter(Boolean)) {
    const [, exchange, pattern] = decoded(part).match(/^([^:]+)(?::(.*))?$/s) ?? [];
    const wrong = exchange ? nameError(exchange) || nameError(pattern ?? "") : `${part} is no exchange.`;
    if (wrong) addNotice(wrong);
    else wanted.set(keyOf({ exchange, pattern: pattern || "#" }), [exchange, pattern || "#"]);
  }
  for (const key of [...bindings.keys()]) if (!wanted.has(key)) unbind(key);
  for (const [exchange, pattern] of wanted.values()) bind(exchange, pattern);
  bindingsChanged();
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function nameError(name) {
  const bytes = new TextEncoder().encode(name).length;
  return bytes > NAME_BYTES_MAX ? `A name has at most ${NAME_BYTES_MAX} bytes in AMQP, and this one has ${bytes}.` : "";
}

function submitForm(event) {
  event.preventDefault();
  const [exchange, pattern] = [element("exchange").value.trim(), element("pattern").value.trim() || "#"];
  const wrong = exchange ? nameError(exchange) || nameError(pattern) : "Type the name of an exchange, such as exchange/bugzilla/simple.";
  element("exchange-error").textContent = wrong;
  element("exchange-error").hidden = !wrong;
  if (wrong) element("exchange").setAttribute("aria-invalid", "true");
  else element("exchange").removeAttribute("aria-invalid");
  element("exchange").focus();
  if (wrong) return;
  bind(exchange, pattern);
  bindingsChanged();
  event.target.reset();
}

// ---- Messages ----

function arrive(message) {
  arrived.push(message);
  received += 1;
  receivedBytes += message.bytes;
  receivedByExchange.set(message.exchange, (receivedByExchange.get(message.exchange) ?? 0) + 1);
  const second = Math.floor(performance.now() / 1000);
  receivedBySecond.set(second, (receivedBySecond.get(second) ?? 0) + 1);
  if (arrived.length > ROWS_MAX) arrived.shift();
  renderTimer ||= setTimeout(render, RENDER_EVERY_MS);
}

function render() {
  renderTimer = 0;
  for (const message of arrived) addRow(message);
  arrived = [];
  renderHead();
}

function addRow(message) {
  const row = { message, item: messageItem(message) };
  row.item.hidden = !passes(message);
  rows.unshift(row);
  element("messages").prepend(row.item);
  keptCharacters += message.body.length;
  while (rows.length > ROWS_MAX || (keptCharacters > KEPT_CHARACTERS_MAX && rows.length > 1)) removeOldest();
}

// What the filter hides goes first.
function removeOldest() {
  const hidden = rows.findLastIndex(({ item }) => item.hidden);
  const [{ message, item }] = rows.splice(hidden === -1 ? rows.length - 1 : hidden, 1);
  keptCharacters -= message.body.length;
  item.remove();
}

function messageItem(message) {
  const { time, exchange, routing_key: key, cc, kind, body, bytes } = message;
  const item = element("message-template").content.cloneNode(true).firstElementChild;
  const shown = (name, text) => item.querySelector(name).append(text);
  shown("time", time.replace("T", " ").replace("Z", " UTC"));
  item.querySelector("time").dateTime = time;
  item.querySelector("time").title = `${localMoment.format(new Date(time))}, local time`;
  shown(".exchange", exchange);
  shown(".key", key);
  if (cc.length > 0) shown(".cc", `CC ${cc.join(", ")}`);
  shown(".short", kind === "base64" ? `no text: ${plural(bytes, "byte")}` : `${kind === "text" ? "no JSON: " : ""}${body.slice(0, SHORT_CHARACTERS_MAX)}`);
  item.querySelector("details").addEventListener("toggle", () => item.querySelector(".body").append(...bodyOf(message)), { once: true });
  return item;
}

function bodyOf({ kind, body, bytes, is_cut: isCut }) {
  const nature = { json: "JSON", text: "no JSON, but text", base64: "no text; base64" }[kind];
  const about = document.createElement("p");
  about.className = "hint";
  about.textContent = `${plural(bytes, "byte")}, ${nature}${isCut ? ", cut off here: it was longer" : ""}`;
  const tree = kind === "json" ? treeOf(body) : null;
  if (tree) return [about, tree];
  const text = document.createElement("pre");
  text.textContent = body;
  return [about, text];
}

function passes({ exchange, routing_key: key, cc, body }) {
  return [exchange, key, ...cc, body].some((text) => text.toLowerCase().includes(filter));
}

function readFilter() {
  filter = element("filter").value.trim().toLowerCase();
  for (const { message, item } of rows) item.hidden = !passes(message);
  renderHead();
}

function clearMessages() {
  arrived = [];
  rows.length = 0;
  keptCharacters = 0;
  received = 0;
  receivedBytes = 0;
  receivedByExchange.clear();
  receivedBySecond.clear();
  element("messages").replaceChildren();
  renderHead();
}

// Lines as `bugzfeed pulse inspect --json` prints them, in the order of arrival: what is shown.
function download() {
  const lines = rows.filter(({ item }) => !item.hidden).map(({ message }) => lineOf(message)).reverse();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
  link.download = `pulse-${new Date().toISOString().slice(0, 19).replace(/:/g, "-")}.jsonl`;
  link.click();
  URL.revokeObjectURL(link.href);
}

function lineOf({ time, exchange, routing_key, cc, kind, body, is_cut }) {
  const head = JSON.stringify({ time, exchange, routing_key, cc, ...(is_cut && { cut: true }) });
  // The payload as it came: numbers keep their digits. Between two parts of JSON, a line break means nothing.
  const [name, value] = kind === "json" ? ["payload", body.replace(/[\r\n]/g, " ")] : [kind, JSON.stringify(body)];
  return `${head.slice(0, -1)},"${name}":${value}}\n`;
}

function renderHead() {
  const shown = rows.filter(({ item }) => !item.hidden).length;
  const count = received === 0 ? "No messages yet" : plural(received, "message");
  element("count").textContent = shown < received ? `${count}, ${wholeNumber.format(shown)} shown` : count;
  element("clear").hidden = received === 0;
  element("download").hidden = shown === 0;
  document.title = received > 0 ? `(${wholeNumber.format(received)}) bugzfeed inspector` : "bugzfeed inspector";
  renderCounters();
  renderEmpty();
}

function renderCounters() {
  const now = Math.floor(performance.now() / 1000);
  for (const second of receivedBySecond.keys()) if (second < now - RATE_SECONDS) receivedBySecond.delete(second);
  const lately = [...receivedBySecond.values()].reduce((sum, count) => sum + count, 0);
  const exchanges = [...receivedByExchange].map(([exchange, count]) => `${exchange} ${wholeNumber.format(count)}`);
  element("counters").hidden = received === 0;
  element("counters").textContent = [
    plural(receivedBytes, "byte"), `${(lately / RATE_SECONDS).toFixed(1)} per second`, ...exchanges,
  ].join(" · ");
}

function renderEmpty() {
  element("empty").hidden = rows.some(({ item }) => !item.hidden);
  element("empty-filtered").hidden = rows.length === 0;
  element("empty-unbound").hidden = rows.length > 0 || bindings.size > 0;
  element("empty-stopped").hidden = rows.length > 0 || bindings.size === 0 || state !== "stopped";
  element("empty-waiting").hidden = rows.length > 0 || bindings.size === 0 || state === "stopped";
}

// ---- Small pieces ----

function addNotice(text) {
  [...element("notices").children].find((notice) => notice.dataset.text === text)?.remove();
  const notice = element("notice-template").content.cloneNode(true).firstElementChild;
  notice.dataset.text = text;
  notice.querySelector("p").append(text);
  notice.querySelector("button").addEventListener("click", () => notice.remove());
  element("notices").append(notice);
}

function plural(count, noun) {
  return `${wholeNumber.format(count)} ${noun}${count === 1 ? "" : "s"}`;
}

// ---- Start ----

element("bind").addEventListener("submit", submitForm);
element("run").addEventListener("click", toggleRun);
element("clear").addEventListener("click", clearMessages);
element("download").addEventListener("click", download);
element("filter").addEventListener("input", readFilter);
addEventListener("hashchange", readFragment);
setInterval(() => received > 0 && renderCounters(), 1000);
readFragment();
connect();
