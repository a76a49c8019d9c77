// What has become of a bug, asked for by the browser itself from Bugzilla's REST interface, so that Bugzilla decides who may
// see what. Asks for many bugs at once, not too often, and only while somebody looks. Knows no feed and no page.

// Bugzilla answers no address that is much longer.
const BUGS_MAX = 50;
// Many pages learn of a change at once: they ask one after the other.
const DELAY_MAX_MS = 1_500;
const PAUSE_MS = 1_000;
const PAUSE_AFTER_FAILURE_MS = 60_000;
const PAUSE_MAX_MS = 600_000;
const FIELDS = "id,summary,status,resolution,last_change_time";

export class Details {
  #rest;
  #onDetails;
  // bug → the times of changes that are to be looked up.
  #wanted = new Map();
  #timer = null;
  #failures = 0;
  /** Why Bugzilla's last answer was none; null where it was one. */
  failure = null;
  /** bug → { summary, status }, for those that everybody may see. */
  bugs = new Map();

  /** onDetails gets each bug that something is known of, and its changes, [{ when, who, what: [text] }]; null after a failure. */
  constructor(bugzilla, onDetails) {
    this.#rest = `${bugzilla}/rest/bug`;
    this.#onDetails = onDetails;
    document.addEventListener("visibilitychange", () => this.#askSoon());
  }

  /** Looks up a bug, and what changed in it at `when`, where that is given. */
  want(bug, when = null) {
    if (!this.#wanted.has(bug)) this.#wanted.set(bug, new Set());
    if (when) this.#wanted.get(bug).add(when);
    this.#askSoon();
  }

  #askSoon() {
    if (this.#timer !== null || this.#wanted.size === 0 || document.hidden) return;
    this.#timer = setTimeout(() => this.#ask(), Math.random() * DELAY_MAX_MS);
  }

  async #ask() {
    // The newest ones stand where somebody looks.
    const bugs = [...this.#wanted.keys()].slice(-BUGS_MAX);
    const times = new Map(bugs.map((bug) => [bug, this.#wanted.get(bug)]));
    for (const bug of bugs) this.#wanted.delete(bug);
    let pause = PAUSE_MS;
    try {
      await this.#lookUp(bugs, times);
      this.#failures = 0;
    } catch (error) {
      this.failure = error.message;
      pause = Math.min(PAUSE_MAX_MS, PAUSE_AFTER_FAILURE_MS * 2 ** this.#failures);
      this.#failures += 1;
      this.#wanted.clear();
      this.#onDetails(null, []);
    }
    // Until then nobody asks.
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#askSoon();
    }, pause);
  }

  async #lookUp(bugs, times) {
    const { bugs: visible } = await this.#get(`?id=${bugs.join(",")}&include_fields=${FIELDS}`);
    this.failure = null;
    for (const { id, summary, status, resolution } of visible) {
      this.bugs.set(id, { summary, status: [status, resolution].filter(Boolean).join(" ") });
      this.#onDetails(id, []);
    }
    const changed = visible.map(({ id }) => id).filter((id) => times.get(id)?.size > 0);
    if (changed.length > 0) await this.#lookUpChanges(changed, times);
  }

  // One that may not be seen would make Bugzilla refuse all: these could be seen a moment ago.
  async #lookUpChanges(bugs, times) {
    const oldest = bugs.flatMap((bug) => [...times.get(bug)]).sort()[0];
    const question = `?${bugs.slice(1).map((bug) => `ids=${bug}&`).join("")}new_since=${justBefore(`${oldest}Z`)}`;
    const [history, comments] = await Promise.all(["history", "comment"].map((what) => this.#get(`/${bugs[0]}/${what}${question}`)));
    const edits = new Map(history.bugs.map(({ id, history }) => [id, history]));
    for (const bug of bugs) {
      const changes = [...times.get(bug)].map((when) => changeAt(when, edits.get(bug) ?? [], comments.bugs[bug]?.comments ?? []));
      this.#onDetails(bug, changes);
    }
  }

  async #get(question) {
    const answer = await fetch(this.#rest + question, { credentials: "omit", referrerPolicy: "no-referrer", headers: { Accept: "application/json" } });
    const content = await answer.json();
    if (!answer.ok || content.error) throw new Error(content.message ?? `it answers ${answer.status}`);
    return content;
  }
}

// Who did what at this time: { when, who, what }.
function changeAt(when, history, comments) {
  const isThen = (time) => time.slice(0, 19) === when;
  const edits = history.filter((edit) => isThen(edit.when));
  const said = comments.filter((comment) => isThen(comment.creation_time ?? comment.time));
  const what = edits.flatMap(({ changes }) => changes.map(describe));
  for (const { attachment_id, text } of said) what.push(attachment_id ? `attachment ${attachment_id}` : `comment: ${shortened(text)}`);
  return { when, who: edits[0]?.who ?? said[0]?.creator ?? "", what };
}

/** Stock Bugzilla tells only of what is newer than `new_since`. */
export function justBefore(time) {
  return new Date(Date.parse(time) - 1_000).toISOString().slice(0, 19) + "Z";
}

/** One changed field in words. */
export function describe({ field_name, removed, added, attachment_id }) {
  const field = field_name.replace(/^cf_|^bug_(?=status|severity)/, "").replaceAll(/[._]/g, " ") + (attachment_id ? ` of attachment ${attachment_id}` : "");
  if (!removed) return `${field} + ${shortened(added)}`;
  if (!added) return `${field} − ${shortened(removed)}`;
  return `${field}: ${shortened(removed)} → ${shortened(added)}`;
}

function shortened(text) {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > 120 ? `${line.slice(0, 119)}…` : line;
}
