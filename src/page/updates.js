// The list of updates: rows, filter, pause, and what is known of each bug. Knows no connection and no form.

import { plural } from "./words.js";

const ROWS_MAX = 500;
const element = (id) => document.getElementById(id);

// Made once: a formatter costs a hundred times what it formats, and a replay is up to 10,000 updates.
const localMoment = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const localDayAndClock = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "numeric", minute: "2-digit" });
const localClock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const wholeNumber = new Intl.NumberFormat("en-GB");

export class Updates {
  // What stands there, newest first: { bug, when, item, what }.
  #rows = [];
  // What arrives during a pause, in order; null otherwise.
  #held = null;
  #filter = [];
  #received = 0;
  #receivedHidden = 0;
  #bugLabel;
  #onChange;
  // bug → { summary, status }
  #known = new Map();

  /** bugLabel makes the text or the link for a bug; onChange is called when the list has changed. */
  constructor(bugLabel, onChange) {
    this.#bugLabel = bugLabel;
    this.#onChange = onChange;
    element("clear").addEventListener("click", () => this.#clear());
    element("pause").addEventListener("click", () => this.#togglePause());
    element("filter").addEventListener("input", () => this.#readFilter());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return;
      this.#receivedHidden = 0;
      this.#render();
    });
  }

  /** How many have arrived. */
  get received() {
    return this.#received;
  }

  add(bug, when) {
    if (this.#held === null) return this.#addRow(bug, when);
    this.#held.push({ bug, when });
    if (this.#held.length > ROWS_MAX) {
      this.#held.shift();
      this.#received += 1;
    }
    this.#render();
  }

  /** How often each update of these bugs (of all, if `bugs` is null) stands there: "bug when" → count. */
  count(bugs) {
    const counts = new Map();
    for (const { bug, when } of [...this.#rows, ...(this.#held ?? [])]) {
      if (bugs === null || bugs.includes(bug)) counts.set(`${bug} ${when}`, (counts.get(`${bug} ${when}`) ?? 0) + 1);
    }
    return counts;
  }

  /** Shows what Bugzilla says of a bug, and of its changes. */
  describe(bug, facts, changes) {
    this.#known.set(bug, facts);
    for (const row of this.#rows.filter((row) => row.bug === bug)) {
      row.what ??= changes.find(({ when, what }) => when === row.when && what.length > 0);
      this.#showFacts(row);
      row.item.hidden = !this.#passes(row);
    }
    this.#render();
  }

  #addRow(bug, when) {
    // By time, not by arrival: a replay of last week's changes belongs below today's.
    const place = this.#rows.findIndex((row) => row.when <= when);
    const row = { bug, when, item: this.#rowItem(bug, when) };
    if (place === -1) {
      this.#rows.push(row);
      element("updates").append(row.item);
    } else {
      element("updates").insertBefore(row.item, this.#rows[place].item);
      this.#rows.splice(place, 0, row);
    }
    this.#showFacts(row);
    row.item.hidden = !this.#passes(row);
    if (this.#rows.length > ROWS_MAX) this.#removeOldest();
    this.#received += 1;
    if (document.hidden) this.#receivedHidden += 1;
    this.#render();
  }

  // What the filter hides goes first.
  #removeOldest() {
    const hidden = this.#rows.findLastIndex((row) => row.item.hidden);
    const [row] = this.#rows.splice(hidden === -1 ? this.#rows.length - 1 : hidden, 1);
    row.item.remove();
  }

  // A number is that of a bug.
  #passes({ bug, when, item }) {
    const text = `${when.replace("T", " ")} ${item.querySelector(".summary").textContent}`.toLowerCase();
    const isIn = (part) => (/^\d+$/.test(part) ? String(bug) : text).includes(part);
    return this.#filter.length === 0 || this.#filter.some(isIn);
  }

  #readFilter() {
    const text = element("filter").value.toLowerCase().replace(/\b(bugs?|utc)\b/g, "");
    this.#filter = text.split(",").map((part) => part.trim()).filter(Boolean);
    for (const row of this.#rows) row.item.hidden = !this.#passes(row);
    this.#render();
  }

  #togglePause() {
    const waiting = this.#held ?? [];
    this.#held = this.#held ? null : [];
    for (const { bug, when } of waiting) this.#addRow(bug, when);
    element("pause").setAttribute("aria-pressed", String(this.#held !== null));
    this.#render();
  }

  #clear() {
    this.#rows = [];
    this.#received = 0;
    element("updates").replaceChildren();
    this.#render();
  }

  #rowItem(bug, when) {
    const item = element("update-template").content.cloneNode(true).firstElementChild;
    item.querySelector(".bug").append(this.#bugLabel(bug, `Bug ${bug}`));
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

  #showFacts({ bug, item, what }) {
    const { summary, status } = this.#known.get(bug) ?? {};
    if (summary) item.querySelector(".summary").textContent = `${summary} (${status})`;
    if (!what) return;
    const who = document.createElement("b");
    who.textContent = what.who;
    item.querySelector(".what").replaceChildren(who, ` ${what.what.join("; ")}`);
  }

  #render() {
    const shown = this.#rows.filter((row) => !row.item.hidden).length;
    const count = [this.#received === 0 ? "No updates yet" : plural(this.#received, "update")];
    if (this.#filter.length > 0) count.push(`${wholeNumber.format(shown)} shown`);
    else if (this.#received > ROWS_MAX) count.push(`the newest ${ROWS_MAX} shown`);
    if (this.#held) count.push(`paused, ${wholeNumber.format(this.#held.length)} waiting`);
    element("count").textContent = count.join(", ");
    element("clear").hidden = this.#received === 0;
    element("empty").hidden = shown > 0;
    element("empty-hidden").hidden = this.#received === 0;
    document.title = this.#receivedHidden > 0 ? `(${wholeNumber.format(this.#receivedHidden)}) bugzfeed` : "bugzfeed";
    this.#onChange();
  }
}
