// The built-in page: a client of the feed at whose path it was served. It keeps its subscriptions in the address's fragment, and
// stores nothing but a token that a server wants, for as long as its tab is open.

import { Details } from "./details.js";
import { Figures } from "./figures.js";
import { SharedFeed } from "./shared.js";
import { Updates } from "./updates.js";
import { bugsError, parseBugs, parseSince, plural, searchQuestion, sinceError } from "./words.js";

// Stands for all bugs at once, in commands, in the address and in the form, where the server offers that.
const ALL = "*";
// Keeps a link to a list of bugs well below the length that web servers accept in a request.
const BUGS_PER_LINK_MAX = 200;
const NOTIFICATION_PAUSE_MS = 1_000;
const TOKEN_KEY = "bugzfeed-token";

const element = (id) => document.getElementById(id);
const { version, firehose, bugzilla: bugzillaAddress } = document.body.dataset;
const offersAll = firehose === "on";
// Anything but an http address would become a link that does something else.
const bugzilla = /^https?:/i.test(bugzillaAddress) ? bugzillaAddress.replace(/\/+$/, "") : null;
const feedUrl = new URL(location.pathname, location.href);
feedUrl.protocol = location.protocol === "https:" ? "wss:" : "ws:";

// What the user wants: bug (or ALL) → { item, isConfirmed, close }.
const subscriptions = new Map();
// "bug when" → how often what stands there already may still come.
const repeats = new Map();

let token = kept();
const feed = new SharedFeed(feedUrl.href, `bugzfeed ${version}`, token);
const updates = new Updates(bugLabel, renderEmpty);
const figures = new Figures(element("figures"));
const details = bugzilla ? new Details(bugzilla, showDetails) : null;

// ---- The connection's state ----

let lastState = "";
let countdown = 0;

function stateChanged() {
  clearInterval(countdown);
  const { state, source, lost } = feed;
  if (state === "connecting") showConnection("connecting", "Connecting");
  if (state === "live" && source === "down") showConnection("down", "Connected, but the server cannot read Bugzilla’s changes");
  if (state === "live" && source !== "down") showConnection("live", "Live");
  if (state === "live") showReason("");
  if (state === "live" && lastState !== "live") element("token-form").hidden = true;
  if (state === "waiting") {
    showWaiting();
    countdown = setInterval(showWaiting, 1_000);
    if (!lost.wasOpen) explainRefusal();
    // A server that stops closes with 1001, and comes back. Any other reason is worth showing.
    else if (lost.reason && lost.code !== 1001) addNotice(`The connection ended: ${lost.reason}`);
    if (lastState === "live") figures.lost();
  }
  lastState = state;
}

function showWaiting() {
  const left = `${Math.max(0, Math.ceil((feed.retryAt - Date.now()) / 1000))} s`;
  // "Offline" is only the device's opinion: a server on the same machine can still be reached, so go on trying.
  if (navigator.onLine) showConnection("waiting", "Reconnecting", ` in ${left}`);
  else showConnection("offline", "Offline", `, next try in ${left}`);
}

// A browser does not say why there is no WebSocket, so the page asks the same server whether it would get one.
async function explainRefusal() {
  const shown = token;
  const headers = shown ? { Authorization: `Bearer ${shown}` } : {};
  const answer = await fetch(`${location.pathname}?access`, { headers, cache: "no-store" }).catch(() => null);
  const words = answer?.status === 204 ? "" : await answer?.text().catch(() => "");
  if (feed.state === "live" || shown !== token) return;
  if (answer === null) return showReason("The server does not answer.");
  element("token-form").hidden = answer.status !== 401;
  if (answer.status === 401) {
    kept((storage) => storage.removeItem(TOKEN_KEY));
    // What follows is for programs.
    return showReason(words.split(":")[0]);
  }
  // A proxy may answer with a page of its own.
  if (!answer.ok) return showReason(words.length < 300 ? words : `The server answers ${answer.status} ${answer.statusText}.`);
  showReason(`The server is there, but takes no connection from ${location.origin}: its option --origin does not list that, it is full, `
    + "or something in between lets no WebSocket through.");
}

// The token that a reload finds. A browser may forbid to keep one.
function kept(change = () => {}) {
  try {
    change(sessionStorage);
    return sessionStorage.getItem(TOKEN_KEY);
  } catch {
    return null;
  }
}

function showToken(event) {
  event.preventDefault();
  token = element("token").value;
  event.target.reset();
  event.target.hidden = true;
  kept((storage) => storage.setItem(TOKEN_KEY, token));
  feed.show(token);
  const again = [...subscriptions.keys()].filter((bug) => subscriptions.get(bug).isDenied);
  unsubscribe(again);
  subscribe(again, null);
}

function showReason(text) {
  if (element("reason").textContent !== text) element("reason").textContent = text;
  element("reason").hidden = !text;
}

// The state is announced when it changes; the seconds that count down are for the eye only.
function showConnection(name, text, detail = "") {
  element("connection").dataset.state = name;
  if (element("state").textContent !== text) element("state").textContent = text;
  element("detail").textContent = detail;
  element("retry").hidden = name !== "waiting" && name !== "offline";
}

// ---- Subscriptions ----

function subscribe(bugs, since) {
  // Someone who asks for the past wants to see it, even what was cleared away: only what still stands there is a repeat.
  if (since) for (const [key, count] of updates.count(bugs.includes(ALL) ? null : bugs)) repeats.set(key, count);
  for (const bug of bugs) {
    const known = subscriptions.get(bug);
    if (known && !since) continue;
    const subscription = feed.subscribe(bug, receiveUpdate, { since });
    // The new one was asked for first, so that nothing is missed between them.
    known?.close();
    subscriptions.set(bug, { item: known?.item ?? subscriptionItem(bug), isConfirmed: false, isDenied: false, close: subscription.close });
    subscription.ready.then(({ denied }) => denied.length === 0 && confirm(bug));
    if (bug !== ALL) details?.want(bug);
  }
  subscriptionsChanged();
}

function unsubscribe(bugs) {
  for (const bug of bugs) {
    subscriptions.get(bug)?.close();
    subscriptions.delete(bug);
  }
  subscriptionsChanged();
}

function confirm(bug) {
  const subscription = subscriptions.get(bug);
  // Unsubscribed meanwhile.
  if (!subscription) return;
  subscription.isConfirmed = true;
  subscription.item.classList.remove("pending");
  subscription.item.removeAttribute("title");
  // All that was asked for has come: an equal update is a new one.
  if ([...subscriptions.values()].every(({ isConfirmed }) => isConfirmed)) repeats.clear();
}

function refused({ bugs, reason }) {
  const mine = [bugs].flat().filter((bug) => subscriptions.has(bug));
  if (mine.length === 0) return;
  addNotice(`The server refused: ${reason}`);
  unsubscribe(mine);
}

function denied({ bugs }) {
  const mine = bugs.filter((bug) => subscriptions.get(bug)?.isDenied === false);
  if (mine.length === 0) return;
  const which = mine.length === 1 ? `bug ${mine[0]} is` : `${plural(mine.length, "bug")} are`;
  addNotice(`Of what you ask for, ${which} not there, or not shown to you: log in to Bugzilla, or give an API key.`, mine);
  element("token-form").hidden = false;
  for (const bug of mine) {
    const subscription = subscriptions.get(bug);
    subscription.isDenied = true;
    subscription.item.classList.add("pending");
    subscription.item.title = "Not there, or not shown to you";
  }
}

function incomplete({ bugs, since }) {
  const mine = bugs === ALL ? sortedSubscriptions() : bugs.filter((bug) => subscriptions.has(bug));
  if (mine.length === 0 && !subscriptions.has(ALL)) return;
  addNotice(`Some updates since ${since.replace("T", " ")} UTC may have been missed: the server does not know all of them.`, mine);
}

// Each update comes once for its bug, and once for all bugs.
function receiveUpdate({ bug, when }) {
  const key = `${bug} ${when}`;
  if (subscriptions.has(ALL) && subscriptions.has(bug)) {
    if (twice.delete(key)) return;
    twice.add(key);
  }
  const left = repeats.get(key) ?? 0;
  if (left > 0) return void repeats.set(key, left - 1);
  updates.add(bug, when);
  figures.arrived(when);
  details?.want(bug, when);
  if (document.hidden) notifySoon(bug);
}

// What one of both subscriptions has brought.
const twice = new Set();

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
  const isHidden = updates.received > 0;
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

// ---- What Bugzilla tells everybody ----

function showDetails(bug, changes) {
  element("details").hidden = details.failure === null;
  if (details.failure !== null) {
    element("details").textContent = `Bugzilla does not tell this page what has changed: ${details.failure}.`;
    return;
  }
  const facts = details.bugs.get(bug);
  updates.describe(bug, facts, changes);
  const label = subscriptions.get(bug)?.item.querySelector(".bug");
  if (label) label.title = `${facts.summary} (${facts.status})`;
}

// Bugzilla carries out the search, with the rights of somebody who is not logged in.
async function subscribeToSearch(question, since) {
  try {
    const answer = await fetch(`${bugzilla}/rest/bug?${question}`, { credentials: "omit", referrerPolicy: "no-referrer" });
    const { bugs, message } = await answer.json();
    if (!bugs) throw new Error(message);
    if (bugs.length === 0) return showFieldError("bugs", "Bugzilla finds no bug that everybody may see by this search.");
    subscribe(bugs.map(({ id }) => id), since);
    element("subscribe").reset();
  } catch (error) {
    showFieldError("bugs", `Bugzilla does not carry out this search: ${error.message}`);
  }
}

// ---- Notifications, when the reader allows them ----

const unseen = new Set();
let notification = 0;

function wantsNotifications() {
  return element("notify").getAttribute("aria-pressed") === "true";
}

async function toggleNotifications() {
  const isGranted = !wantsNotifications() && (await Notification.requestPermission()) === "granted";
  element("notify").setAttribute("aria-pressed", String(isGranted));
  if (Notification.permission === "denied") addNotice("This browser’s settings for this site forbid notifications.");
}

// Many changes in a row are one notification.
function notifySoon(bug) {
  if (!wantsNotifications()) return;
  unseen.add(bug);
  clearTimeout(notification);
  notification = setTimeout(showNotification, NOTIFICATION_PAUSE_MS);
}

function showNotification() {
  const bugs = [...unseen];
  unseen.clear();
  if (!document.hidden) return;
  const title = bugs.length === 1 ? `Bug ${bugs[0]} has changed` : `${plural(bugs.length, "bug")} have changed`;
  const body = bugs.slice(0, 5).map((bug) => [bug, details?.bugs.get(bug)?.summary].filter(Boolean).join(": ")).join("\n");
  try {
    new Notification(title, { body, tag: "bugzfeed" }).addEventListener("click", () => window.focus());
  } catch {
    // Phones show them for installed pages only.
  }
}

// ---- Lists of bugs as files ----

function exportBugs() {
  const file = new Blob([`${sortedSubscriptions().join("\n")}\n`], { type: "text/plain" });
  const anchor = Object.assign(document.createElement("a"), { href: URL.createObjectURL(file), download: "bugs.txt" });
  anchor.click();
  URL.revokeObjectURL(anchor.href);
}

async function importBugs({ target }) {
  const [file] = target.files;
  if (!file) return;
  const { bugs, wrong } = parseBugs(await file.text(), offersAll);
  target.value = "";
  if (wrong) addNotice(`${file.name}: ${bugsError(wrong, offersAll)}`);
  else subscribe(bugs, null);
}

// ---- The form ----

function submitForm(event) {
  event.preventDefault();
  const text = event.submitter?.id === "subscribe-all" ? ALL : element("bugs").value;
  const search = bugzilla ? searchQuestion(text) : null;
  const { bugs, wrong } = search ? { bugs: [], wrong: null } : parseBugs(text, offersAll);
  const sinceText = element("since").value.trim();
  const since = sinceText ? parseSince(sinceText) : null;
  if (bugs.length === 0 && !wrong && !search) showFieldError("bugs", "Type a bug number, such as 1234.");
  else showFieldError("bugs", bugsError(wrong, offersAll));
  showFieldError("since", sinceText && !since ? sinceError(sinceText) : "");
  const firstWrong = event.target.querySelector("[aria-invalid]");
  if (firstWrong) return firstWrong.focus();
  if (search) return void subscribeToSearch(search, since);
  subscribe(bugs, since);
  event.target.reset();
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
  const { bugs, wrong } = parseBugs(location.hash.slice(1).replace(/%2c|%20/gi, " "), offersAll);
  showFieldError("bugs", bugsError(wrong, offersAll));
  const surplus = [...subscriptions.keys()].filter((bug) => !bugs.includes(bug));
  const missing = bugs.filter((bug) => !subscriptions.has(bug));
  if (surplus.length > 0) unsubscribe(surplus);
  if (missing.length > 0) subscribe(missing, null);
}

// ---- Small pieces ----

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
  if (!bugzilla || bugs.length === 0) return [];
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

// ---- Start ----

element("address").textContent = feedUrl.href;
if (location.pathname !== "/") element("path").textContent = location.pathname;
if (bugzilla) {
  element("bugzilla").hidden = false;
  element("bugzilla").querySelector("a").href = bugzilla;
  element("bugzilla").querySelector("a").textContent = bugzilla.replace(/^https?:\/\//i, "");
}
element("notify").hidden = typeof Notification !== "function";
feed.addEventListener("state", stateChanged);
feed.addEventListener("refused", refused);
feed.addEventListener("incomplete", incomplete);
feed.addEventListener("denied", denied);
element("token-form").addEventListener("submit", showToken);
element("subscribe").addEventListener("submit", submitForm);
element("retry").addEventListener("click", () => feed.wake());
element("notify").addEventListener("click", toggleNotifications);
element("export").addEventListener("click", exportBugs);
element("import").addEventListener("click", () => element("import-file").click());
element("import-file").addEventListener("change", importBugs);
addEventListener("hashchange", readFragment);
renderSubscriptions();
readFragment();
