// Ends mid-air collisions: on a bug's page in Bugzilla it says who has changed what since the page was loaded. An administrator
// puts it into Bugzilla's header (docs/bugzilla.md). It adds one box to the page, and touches nothing else.

import { Bugzfeed } from "./bugzfeed.js";
import { describe, justBefore } from "./details.js";

const form = document.querySelector("form[name=changeform]");
const bug = Number(form?.elements.id?.value ?? (location.pathname.endsWith("/show_bug.cgi") ? new URLSearchParams(location.search).get("id") : 0));
const rest = new URL(`rest/bug/${bug}`, location.href).href;

// What had been done when the page was loaded; and what has been done since.
const known = new Set();
const news = [];
let loadedAt = null;
let box = null;
let looking = Promise.resolve();

async function start() {
  loadedAt = (await get("?include_fields=id,last_change_time")).bugs[0].last_change_time;
  for (const { key } of await changes()) known.add(key);
  // A page from the browser's cache may be older than Bugzilla's answer.
  if (isOlder(form?.elements.delta_ts?.value, loadedAt)) show([{ who: "", what: "This page is older than the bug." }]);
  const feed = new Bugzfeed(new URL("./", import.meta.url));
  // With --access, the server knows a reader by the cookies of their login to Bugzilla, which a browser shows at its host only.
  feed.addEventListener("denied", () => warn("the server does not see by any login that you may see it"));
  feed.addEventListener("state", () => feed.lost?.wasOpen === false && explain());
  // Where the server does not know what changed while this was loading, Bugzilla is asked once.
  feed.addEventListener("incomplete", look);
  feed.subscribe([bug], look, { since: loadedAt });
}

function warn(why) {
  console.warn(`bugzfeed: cannot follow bug ${bug}: ${why}`);
}

// Once, for whoever looks into the console. A browser does not say why there is no WebSocket, so the server is asked whether
// there would be one.
let isExplained = false;
async function explain() {
  if (isExplained) return;
  isExplained = true;
  const answer = await fetch(new URL("./?access", import.meta.url)).catch(() => null);
  warn(answer && !answer.ok ? await answer.text() : "the server takes no connection from this page");
}

// One question at a time; what comes meanwhile is asked for once more.
function look() {
  looking = looking.then(lookOnce).catch(() => show([{ who: "", what: "Bugzilla does not say what." }]));
}

async function lookOnce() {
  const fresh = (await changes()).filter(({ key }) => !known.has(key));
  for (const { key } of fresh) known.add(key);
  if (fresh.length > 0) show(fresh);
}

// All that was done at `loadedAt` or later, as far as this reader may see it.
async function changes() {
  const [history, comments] = await Promise.all(["history", "comment"].map((what) => get(`/${what}?new_since=${justBefore(loadedAt)}`)));
  const edits = history.bugs[0].history.flatMap(({ who, when, changes }) =>
    changes.map(describe).map((what) => ({ key: `${when} ${who} ${what}`, who, what })));
  const said = comments.bugs[bug].comments.map(({ id, creator, attachment_id }) =>
    ({ key: `comment ${id}`, who: creator, what: attachment_id ? `attachment ${attachment_id}` : "a comment" }));
  return [...edits, ...said];
}

// With the rights of who is logged in, as Bugzilla's own scripts ask.
async function get(question) {
  const url = new URL(rest + question);
  // `BUGZILLA` is a constant of the page's, and no property of the window.
  const token = typeof BUGZILLA === "undefined" ? "" : BUGZILLA.api_token;
  if (token) url.searchParams.set("Bugzilla_api_token", token);
  const content = await (await fetch(url, { headers: { Accept: "application/json" } })).json();
  if (content.error) throw new Error(content.message);
  return content;
}

// The form has the time in the database's own zone: zones differ by quarters of an hour.
function isOlder(local, utc) {
  const difference = Date.parse(utc) - Date.parse(`${local?.replace(" ", "T")}Z`);
  return !Number.isNaN(difference) && difference % (15 * 60_000) !== 0;
}

function show(fresh) {
  news.push(...fresh);
  box ??= makeBox();
  const byWhom = new Map();
  for (const { who, what } of news) byWhom.set(who, [...(byWhom.get(who) ?? []), what]);
  const lines = [...byWhom].map(([who, what]) => {
    const line = document.createElement("div");
    const name = document.createElement("b");
    name.textContent = who;
    line.append(name, ` ${what.join("; ")}`);
    return line;
  });
  box.lastChild.replaceChildren(...lines);
}

function makeBox() {
  const made = document.createElement("div");
  made.id = "bugzfeed";
  made.setAttribute("role", "status");
  Object.assign(made.style, {
    position: "fixed", insetInline: "0", bottom: "0", zIndex: "1000", padding: "0.75em 1em", maxHeight: "40vh", overflow: "auto",
    background: "#fdf1d6", color: "#1d1c1a", borderTop: "2px solid #8a5a00", font: "1rem/1.4 sans-serif", overflowWrap: "anywhere",
  });
  const title = document.createElement("b");
  title.textContent = `Bug ${bug} has changed since you loaded this page.`;
  const anchor = document.createElement("a");
  anchor.href = new URL(`show_bug.cgi?id=${bug}`, location.href).href;
  anchor.target = "_blank";
  anchor.textContent = "See it in a new tab";
  anchor.style.color = "#0b4f9e";
  made.append(title, " ", anchor, document.createElement("div"));
  document.body.append(made);
  return made;
}

if (bug > 0) start().catch((error) => warn(error.message));
