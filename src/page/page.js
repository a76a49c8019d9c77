// The built-in page: a client of the feed at whose path it was served. It speaks docs/protocol.md, keeps its
// subscriptions in the address's fragment, and stores nothing.

const ROWS_MAX = 500;
// A server remembers 10,000 updates by default: what it can replay, the page can recognise.
const SEEN_MAX = 10_000;
// A replay follows its reply without a pause. After so long a silence it is over, and an equal update is a new one.
const REPLAY_SILENCE_MS = 2_000;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 30_000;
// A connection that lived for so long was a good one. Forgetting earlier failures sooner would let a server that
// accepts and closes at once get two connections a second, for ever.
const STEADY_MS = 10_000;
// A page sees no pings, and a connection that a network has lost says nothing, for ever. After so long a silence the
// server is asked for its version; it answers at once, or within five seconds while it looks for missed changes.
const ASK_AFTER_MS = 30_000;
const ANSWER_MAX_MS = 15_000;
const LOOK_EVERY_MS = 5_000;
// Before the first update only this device's clock says where to resume. It may be a little ahead of Bugzilla's.
const CLOCK_MARGIN_MS = 60_000;
// A time further ahead than this is a mistake of somebody, and no time to resume from: a server would believe it no more.
const AHEAD_MAX_MS = 86_400_000;
const BUG_MAX = 2 ** 31 - 1;
// Stands for all bugs at once, in commands, in the address and in the form, where the server offers that.
const ALL = "*";
// Keeps a link to a list of bugs well below the length that web servers accept in a request.
const BUGS_PER_LINK_MAX = 200;

const element = (id) => document.getElementById(id);
const feedUrl = new URL(location.pathname, location.href);
feedUrl.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const offersAll = document.body.dataset.firehose === "on";
// Anything but an http address would become a link that does something else.
const bugzilla = /^https?:/i.test(document.body.dataset.bugzilla) ? document.body.dataset.bugzilla.replace(/\/+$/, "") : null;

// Made once: a formatter costs a hundred times what it formats, and a replay is up to 10,000 updates.
const localMoment = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const localDayAndClock = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "numeric", minute: "2-digit" });
const localClock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const wholeNumber = new Intl.NumberFormat("en-GB");

// What the user wants: bug (or ALL) → { confirmed, item }. What a server has confirmed is part of a resume.
const subscriptions = new Map();
// Subscribe requests without a reply that must survive a reconnect: { bugs, since }.
let unsent = [];

let socket = null;
let openedAt = 0;
let failures = 0;
let retryAt = 0;
let retryTimer = 0;
// Commands without a reply, oldest first. Only the order, which the server keeps, ties a reply to its command.
let unanswered = [];

// Where to resume: the newest `when` seen, and until there is one, where watching began.
let newest = null;
let watchingSince = null;
// "bug when" → how often it was shown; the oldest keys are forgotten first.
const seen = new Map();
// "bug when" → how often the running replay may still repeat it.
const repeats = new Map();
// Requests for the past whose replay is still running: a connection that breaks now cuts it short.
let replaying = [];
let lastMessageAt = 0;
let heardAt = 0;
// When a server that says nothing is given up, unless it says something first.
let answerDue = Infinity;

// What stands in the feed, newest first: { bug, when, item }.
const rows = [];
// What arrives during a pause, in order: { bug, when }.
let held = null;
let filter = [];
let received = 0;
let receivedHidden = 0;

// ---- Connection ----

function connect() {
  clearTimeout(retryTimer);
  showConnection("connecting", "Connecting");
  const mine = new WebSocket(feedUrl);
  socket = mine;
  answerDue = performance.now() + ANSWER_MAX_MS;
  // One that was given up may still have something to say.
  const ifCurrent = (act) => (event) => socket === mine && act(event);
  socket.addEventListener("open", ifCurrent(opened));
  socket.addEventListener("message", ifCurrent((event) => receive(event.data)));
  socket.addEventListener("close", ifCurrent(closed));
}

function opened() {
  answerDue = Infinity;
  heardAt = performance.now();
  openedAt = performance.now();
  showConnection("live", "Live");
  resume();
  const requests = unsent;
  unsent = [];
  requests.forEach(requestSubscribe);
}

function closed(event) {
  socket = null;
  endReplayAfterSilence();
  unsent = [...replaying, ...unanswered.map(({ request }) => request).filter(Boolean), ...unsent];
  unanswered = [];
  replaying = [];
  repeats.clear();
  if (openedAt && performance.now() - openedAt >= STEADY_MS) failures = 0;
  openedAt = 0;
  retryAt = performance.now() + Math.random() * Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** failures);
  failures += 1;
  // A server that stops closes with 1001, and comes back. Any other reason is worth showing.
  if (event.reason && event.code !== 1001) addNotice(`The server closed the connection: ${event.reason}`);
  waitToReconnect();
}

// Is the server still there?
function look() {
  if (socket === null) return;
  const now = performance.now();
  if (now >= answerDue) giveUp();
  else if (isOpen() && now - heardAt >= ASK_AFTER_MS) ask();
}

function ask() {
  if (!isOpen() || answerDue !== Infinity) return;
  answerDue = performance.now() + ANSWER_MAX_MS;
  send({ command: "version" });
}

// The browser would wait for the server's part of a close for long.
function giveUp() {
  socket.close();
  closed({ code: 1006, reason: "" });
}

function waitToReconnect() {
  const left = retryAt - performance.now();
  if (left <= 0) return connect();
  const seconds = `${Math.ceil(left / 1000)} s`;
  // "Offline" is only the device's opinion: a server on the same machine can still be reached, so go on trying.
  if (navigator.onLine) showConnection("waiting", "Reconnecting", ` in ${seconds}`);
  else showConnection("offline", "Offline", `, next try in ${seconds}`);
  retryTimer = setTimeout(waitToReconnect, left % 1000 || 1000);
}

// The network or the reader is back: the rest of the wait is skipped, and a connection may have been lost meanwhile.
function retryNow() {
  if (socket === null) connect();
  else ask();
}

// ---- Commands ----

function send(command, request = null, isResume = false) {
  unanswered.push({ bugs: [command.bugs ?? []].flat(), request, isResume });
  socket.send(JSON.stringify(command));
}

function isOpen() {
  return socket !== null && socket.readyState === WebSocket.OPEN;
}

// One message for the whole set, and one `since`: everything that arrived after the last update seen comes again.
function resume() {
  const bugs = [...subscriptions].filter(([, { confirmed }]) => confirmed).map(([bug]) => bug);
  for (const some of commandable(bugs)) {
    send({ command: "subscribe", bugs: asArgument(some), since: newest ?? watchingSince }, null, true);
  }
}

function subscribe(bugs, since) {
  for (const bug of bugs) {
    if (!subscriptions.has(bug)) subscriptions.set(bug, { confirmed: false, item: subscriptionItem(bug) });
  }
  subscriptionsChanged();
  for (const some of commandable(bugs)) requestSubscribe({ bugs: some, since });
}

function requestSubscribe({ bugs, since }) {
  const wanted = bugs.filter((bug) => subscriptions.has(bug));
  if (wanted.length === 0) return;
  const request = { bugs: wanted, since };
  if (!isOpen()) unsent.push(request);
  else send({ command: "subscribe", bugs: asArgument(wanted), ...(since && { since }) }, request);
}

function unsubscribe(bugs) {
  for (const bug of bugs) subscriptions.delete(bug);
  subscriptionsChanged();
  if (isOpen()) for (const some of commandable(bugs)) send({ command: "unsubscribe", bugs: asArgument(some) });
}

// Lists of which each fits one command.
function commandable(bugs) {
  return [bugs.filter((bug) => bug === ALL), bugs.filter((bug) => bug !== ALL)].filter((some) => some.length > 0);
}

function asArgument(bugs) {
  return bugs[0] === ALL ? ALL : bugs;
}

// ---- Messages ----

function receive(text) {
  const message = JSON.parse(text);
  endReplayAfterSilence();
  lastMessageAt = performance.now();
  heardAt = lastMessageAt;
  answerDue = Infinity;
  if (message.command === "update") receiveUpdate(message.bug, message.when);
  else receiveReply(message, unanswered.shift());
}

function receiveReply(reply, { bugs, request, isResume } = {}) {
  if (reply.result === "error") {
    addNotice(`The server refused: ${reply.error}`);
    if (request || isResume) forget(bugs, isResume);
    return;
  }
  if (isResume) resumed(reply);
  else if (request) subscribed(reply, request);
}

function resumed(reply) {
  expectRepeats(seen);
  if (reply.complete === false) addNotice("Some updates may have been missed while disconnected.", sortedSubscriptions());
}

function subscribed(reply, request) {
  const { bugs, since } = request;
  bugs.forEach(confirm);
  watchingSince ??= since ?? new Date(Date.now() - CLOCK_MARGIN_MS).toISOString().slice(0, 19);
  if (!since) return;
  // Someone who asks for the past wants to see it, even what was cleared away: only what still stands there is a repeat.
  expectRepeats(countRows(bugs));
  replaying.push(request);
  if (reply.complete === false) {
    addNotice(`The server does not remember all changes since ${since.replace("T", " ")} UTC. Some may be missing here: look at the bugs in Bugzilla once.`, bugs);
  }
}

function confirm(bug) {
  const subscription = subscriptions.get(bug);
  // Unsubscribed meanwhile.
  if (!subscription) return;
  subscription.confirmed = true;
  subscription.item.classList.remove("pending");
  subscription.item.removeAttribute("title");
}

// A replay may bring each update as often as it was shown, and no more often: one more is a second edit within that second.
function expectRepeats(shown) {
  for (const [key, count] of shown) repeats.set(key, count);
}

function endReplayAfterSilence() {
  if (performance.now() - lastMessageAt <= REPLAY_SILENCE_MS) return;
  repeats.clear();
  replaying = [];
}

// A refused request leaves nothing subscribed: what only it asked for is no subscription. Nor is anything that a server knows
// nothing of which has come back with other settings.
function forget(bugs, isResume) {
  for (const bug of bugs) if (isResume || subscriptions.get(bug)?.confirmed === false) subscriptions.delete(bug);
  subscriptionsChanged();
}

function receiveUpdate(bug, when) {
  // Sent before the server had read our unsubscribe.
  if (!subscriptions.has(bug) && !subscriptions.has(ALL)) return;
  const isAhead = Date.parse(`${when}Z`) > Date.now() + AHEAD_MAX_MS;
  if (!isAhead && (newest === null || when > newest)) newest = when;
  const key = `${bug} ${when}`;
  const left = repeats.get(key) ?? 0;
  if (left > 0) return void repeats.set(key, left - 1);
  seen.set(key, (seen.get(key) ?? 0) + 1);
  if (seen.size > SEEN_MAX) seen.delete(seen.keys().next().value);
  if (held) hold(bug, when);
  else addRow(bug, when);
}

// ---- The feed ----

function addRow(bug, when) {
  // By time, not by arrival: a replay of last week's changes belongs below today's.
  const place = rows.findIndex((row) => row.when <= when);
  const row = { bug, when, item: rowItem(bug, when) };
  if (place === -1) {
    rows.push(row);
    element("updates").append(row.item);
  } else {
    element("updates").insertBefore(row.item, rows[place].item);
    rows.splice(place, 0, row);
  }
  row.item.hidden = !passes(row);
  if (rows.length > ROWS_MAX) removeOldest();
  received += 1;
  if (document.hidden) receivedHidden += 1;
  renderFeedHead();
}

// What the filter hides goes first.
function removeOldest() {
  const hidden = rows.findLastIndex((row) => row.item.hidden);
  const [row] = rows.splice(hidden === -1 ? rows.length - 1 : hidden, 1);
  row.item.remove();
}

function passes({ bug, when }) {
  const isIn = (part) => (/^\d+$/.test(part) ? String(bug) : when.replace("T", " ")).includes(part);
  return filter.length === 0 || filter.some(isIn);
}

function readFilter() {
  filter = element("filter").value.replace(/\b(bugs?|utc)\b/gi, "").split(",").map((part) => part.trim()).filter(Boolean);
  for (const row of rows) row.item.hidden = !passes(row);
  renderFeedHead();
}

function togglePause() {
  const waiting = held ?? [];
  held = held ? null : [];
  for (const { bug, when } of waiting) addRow(bug, when);
  element("pause").setAttribute("aria-pressed", String(held !== null));
  renderFeedHead();
}

function hold(bug, when) {
  held.push({ bug, when });
  if (held.length > ROWS_MAX) {
    held.shift();
    received += 1;
  }
  renderFeedHead();
}

function rowItem(bug, when) {
  const item = element("update-template").content.cloneNode(true).firstElementChild;
  item.querySelector(".bug").append(bugLabel(bug, `Bug ${bug}`));
  const [, date, clock] = when.match(/^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)$/) ?? [];
  const time = new Date(`${date}T${clock}Z`);
  if (Number.isNaN(time.getTime())) {
    // From a broker a time is passed on exactly as it came.
    item.querySelector("time").textContent = when;
    return item;
  }
  item.querySelector(".date").textContent = date;
  item.querySelector(".clock").textContent = clock;
  item.querySelector("time").dateTime = time.toISOString();
  item.querySelector("time").title = `${localMoment.format(time)}, local time`;
  if (time.getTimezoneOffset() !== 0) {
    const format = time.getDate() === time.getUTCDate() ? localClock : localDayAndClock;
    item.querySelector(".local").textContent = `${format.format(time)} local`;
  }
  return item;
}

function countRows(bugs) {
  const counts = new Map();
  for (const { bug, when } of [...rows, ...(held ?? [])]) {
    if (bugs.includes(bug) || bugs.includes(ALL)) counts.set(`${bug} ${when}`, (counts.get(`${bug} ${when}`) ?? 0) + 1);
  }
  return counts;
}

function clearFeed() {
  rows.length = 0;
  received = 0;
  element("updates").replaceChildren();
  renderFeedHead();
}

function renderFeedHead() {
  const shown = rows.filter((row) => !row.item.hidden).length;
  const count = [received === 0 ? "No updates yet" : plural(received, "update")];
  if (filter.length > 0) count.push(`${wholeNumber.format(shown)} shown`);
  else if (received > ROWS_MAX) count.push(`the newest ${ROWS_MAX} shown`);
  if (held) count.push(`paused, ${wholeNumber.format(held.length)} waiting`);
  element("count").textContent = count.join(", ");
  element("clear").hidden = received === 0;
  element("empty").hidden = shown > 0;
  element("empty-hidden").hidden = received === 0;
  renderEmpty();
  document.title = receivedHidden > 0 ? `(${wholeNumber.format(receivedHidden)}) bugzfeed` : "bugzfeed";
}

// ---- Subscriptions ----

function subscriptionsChanged() {
  const fragment = [...(subscriptions.has(ALL) ? [ALL] : []), ...sortedSubscriptions()].join(",");
  // A replaced address keeps the Back button for pages, and raises no hashchange.
  history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
  renderSubscriptions();
}

// The bugs that are subscribed by their numbers.
function sortedSubscriptions() {
  return [...subscriptions.keys()].filter((bug) => bug !== ALL).sort((a, b) => a - b);
}

function renderSubscriptions() {
  const bugs = sortedSubscriptions();
  const all = subscriptions.get(ALL);
  element("subscriptions").replaceChildren(...(all ? [all.item] : []), ...bugs.map((bug) => subscriptions.get(bug).item));
  element("subscribed").hidden = subscriptions.size === 0;
  element("subscribed-count").textContent = [...(all ? ["all bugs"] : []), ...(bugs.length > 0 ? [plural(bugs.length, "bug")] : [])].join(" and ");
  element("subscribe-all").hidden = all !== undefined;
  renderEmpty();
}

function renderEmpty() {
  const bugs = sortedSubscriptions();
  const isHidden = received > 0;
  element("empty-newcomer").hidden = isHidden || subscriptions.size > 0;
  element("empty-waiting").hidden = isHidden || subscriptions.size === 0;
  element("empty-bugs").textContent = subscriptions.has(ALL) ? "any bug"
    : bugs.length === 1 ? `bug ${bugs[0]}` : `any of ${plural(bugs.length, "bug")}`;
  element("empty-command").textContent = `bugzfeed notify ${bugs[0] ?? 1234}`;
}

function subscriptionItem(bug) {
  const item = element("subscription-template").content.cloneNode(true).firstElementChild;
  item.querySelector(".bug").append(bug === ALL ? "All bugs" : bugLabel(bug, bug));
  item.classList.add("pending");
  item.title = "Not yet confirmed by the server";
  const button = item.querySelector("button");
  button.title = "Unsubscribe";
  button.setAttribute("aria-label", bug === ALL ? "Unsubscribe from all bugs" : `Unsubscribe from bug ${bug}`);
  button.addEventListener("click", () => {
    const place = [...element("subscriptions").children].indexOf(item);
    unsubscribe([bug]);
    // The button is gone: its neighbour takes the focus, so that keyboard users keep their place.
    const buttons = element("subscriptions").querySelectorAll("button");
    (buttons[Math.min(place, buttons.length - 1)] ?? element("bugs")).focus();
  });
  return item;
}

// ---- The form ----

function submitForm(event) {
  event.preventDefault();
  const { bugs, wrong } = parseBugs(event.submitter?.id === "subscribe-all" ? ALL : element("bugs").value);
  const sinceText = element("since").value.trim();
  const since = sinceText ? parseSince(sinceText) : null;
  if (bugs.length === 0 && !wrong) showFieldError("bugs", "Type a bug number, such as 1234.");
  else showFieldError("bugs", bugsError(wrong));
  showFieldError("since", sinceText && !since ? sinceError(sinceText) : "");
  const firstWrong = event.target.querySelector("[aria-invalid]");
  if (firstWrong) return firstWrong.focus();
  subscribe(bugs, since);
  event.target.reset();
}

// Bug numbers, and ALL, as people have them at hand: typed, copied from a sentence, or as an address; and the first word that is none.
function parseBugs(text) {
  const bugs = new Set();
  let wrong = null;
  for (const word of text.replace(/\bbugs?[\s#:]*(?=\d)/gi, "").split(/\s+/)) {
    // The number in attachment.cgi?id= is an attachment's, not a bug's.
    const address = word.match(/^(?!.*attachment\.cgi).*[?&](?:bug_)?id=([^&#]+)/i);
    const numbers = address ? address[1].replace(/%2c/gi, ",") : word;
    for (const number of numbers.split(/[,;]/).filter(Boolean)) {
      const bug = /^#?\d+$/.test(number) ? Number(number.replace("#", "")) : 0;
      if (bug >= 1 && bug <= BUG_MAX) bugs.add(bug);
      else if (offersAll && number === ALL) bugs.add(ALL);
      else wrong ??= address ? word : number;
    }
  }
  return { bugs: [...bugs], wrong };
}

function bugsError(wrong) {
  if (!wrong) return "";
  const limit = /^#?\d+$/.test(wrong) && Number(wrong.replace("#", "")) > BUG_MAX ? ` The largest is ${BUG_MAX}.` : "";
  return `“${shortened(wrong)}” is not a bug number.${limit} Accepted are 1234; several, as in 1234, 5678; bug 1234; `
    + `${offersAll ? "* for all; " : ""}and the address of a bug, as in …/show_bug.cgi?id=1234.`;
}

// The form that the server takes, or null. "UTC" is taken because the feed shows it, and people copy.
function parseSince(text) {
  const parts = text.match(/^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d+)?)?(?:Z| ?UTC)?)?$/i);
  if (!parts) return null;
  const [, date, minutes = "00:00", seconds = ":00"] = parts;
  const since = `${date}T${minutes}${seconds}`;
  return Number.isNaN(Date.parse(`${since}Z`)) ? null : since;
}

function sinceError(wrong) {
  return `“${shortened(wrong)}” is not a time. Accepted are 2014-04-03 21:13:45 and 2014-04-03, in UTC.`;
}

function showFieldError(field, text) {
  element(`${field}-error`).textContent = text;
  element(`${field}-error`).hidden = !text;
  if (text) element(field).setAttribute("aria-invalid", "true");
  else element(field).removeAttribute("aria-invalid");
}

// The fragment is the subscriptions: at load, and whenever somebody edits it or follows a link to this page. Of a link that was
// damaged on its way, the readable part is taken.
function readFragment() {
  const { bugs, wrong } = parseBugs(location.hash.slice(1).replace(/%2c|%20/gi, " "));
  showFieldError("bugs", bugsError(wrong));
  const surplus = [...subscriptions.keys()].filter((bug) => !bugs.includes(bug));
  const missing = bugs.filter((bug) => !subscriptions.has(bug));
  if (surplus.length > 0) unsubscribe(surplus);
  if (missing.length > 0) subscribe(missing, null);
}

// ---- Small pieces ----

// The state is announced when it changes; the seconds that count down are for the eye only.
function showConnection(name, text, detail = "") {
  element("connection").dataset.state = name;
  if (element("state").textContent !== text) element("state").textContent = text;
  element("detail").textContent = detail;
  element("retry").hidden = name !== "waiting" && name !== "offline";
}

function addNotice(text, bugs = []) {
  const equal = [...element("notices").children].find((notice) => notice.dataset.text === text);
  equal?.remove();
  const notice = element("notice-template").content.cloneNode(true).firstElementChild;
  notice.dataset.text = text;
  notice.querySelector("p").append(text, ...checkLinks(bugs));
  notice.querySelector("button").addEventListener("click", () => notice.remove());
  element("notices").append(notice);
}

function checkLinks(bugs) {
  if (!bugzilla || bugs.length === 0 || bugs[0] === ALL) return [];
  if (bugs.length === 1) return [" ", link(bugAddress(bugs[0]), `Check bug ${bugs[0]} in Bugzilla`)];
  const links = [];
  for (let first = 0; first < bugs.length; first += BUGS_PER_LINK_MAX) {
    const some = bugs.slice(first, first + BUGS_PER_LINK_MAX);
    const address = `${bugzilla}/buglist.cgi?bug_id=${some.join(",")}&order=changeddate%20DESC`;
    links.push(" ", link(address, `Check ${plural(some.length, "bug")} in Bugzilla`));
  }
  return links;
}

function bugLabel(bug, text) {
  return bugzilla ? link(bugAddress(bug), text) : text;
}

function bugAddress(bug) {
  return `${bugzilla}/show_bug.cgi?id=${bug}`;
}

// In a tab of its own: leaving this one would end the feed.
function link(address, text) {
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.target = "_blank";
  anchor.rel = "noopener noreferrer";
  anchor.append(text);
  return anchor;
}

function plural(count, noun) {
  return `${wholeNumber.format(count)} ${noun}${count === 1 ? "" : "s"}`;
}

function shortened(text) {
  return text.length > 40 ? `${text.slice(0, 39)}…` : text;
}

// ---- Start ----

element("address").textContent = feedUrl.href;
if (location.pathname !== "/") element("path").textContent = location.pathname;
if (bugzilla) {
  element("bugzilla").hidden = false;
  element("bugzilla").querySelector("a").href = bugzilla;
  element("bugzilla").querySelector("a").textContent = bugzilla.replace(/^https?:\/\//i, "");
}
element("subscribe").addEventListener("submit", submitForm);
element("clear").addEventListener("click", clearFeed);
element("pause").addEventListener("click", togglePause);
element("filter").addEventListener("input", readFilter);
element("retry").addEventListener("click", retryNow);
addEventListener("hashchange", readFragment);
addEventListener("online", retryNow);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  receivedHidden = 0;
  renderFeedHead();
  retryNow();
});
setInterval(look, LOOK_EVERY_MS);
renderSubscriptions();
readFragment();
connect();
