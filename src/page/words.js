// What people type and paste: bug numbers, times, addresses of Bugzilla. Knows no page.

const BUG_MAX = 2 ** 31 - 1;

/** Bug numbers, and * for all where that is offered, as people have them at hand: typed, copied, or as an address; and the first word that is none. */
export function parseBugs(text, offersAll = false) {
  const bugs = new Set();
  let wrong = null;
  for (const word of text.replace(/\bbugs?[\s#:]*(?=\d)/gi, "").split(/\s+/)) {
    // The number in attachment.cgi?id= is an attachment's, not a bug's.
    const address = word.match(/^(?!.*attachment\.cgi).*[?&](?:bug_)?id=([^&#]+)/i);
    const numbers = address ? address[1].replace(/%2c/gi, ",") : word;
    for (const number of numbers.split(/[,;]/).filter(Boolean)) {
      const bug = /^#?\d+$/.test(number) ? Number(number.replace("#", "")) : 0;
      if (bug >= 1 && bug <= BUG_MAX) bugs.add(bug);
      else if (offersAll && number === "*") bugs.add("*");
      else wrong ??= address ? word : number;
    }
  }
  return { bugs: [...bugs], wrong };
}

export function bugsError(wrong, offersAll = false) {
  if (!wrong) return "";
  const limit = /^#?\d+$/.test(wrong) && Number(wrong.replace("#", "")) > BUG_MAX ? ` The largest is ${BUG_MAX}.` : "";
  return `“${shortened(wrong)}” is not a bug number.${limit} Accepted are 1234; several, as in 1234, 5678; bug 1234; `
    + `${offersAll ? "* for all; " : ""}the address of a bug, as in …/show_bug.cgi?id=1234; and that of a search, as in …/buglist.cgi?product=….`;
}

/** What to ask Bugzilla's REST interface for a search that is given by its address (`buglist.cgi?…`); null for all else. */
export function searchQuestion(text) {
  const [, question] = text.trim().match(/^\S*\bbuglist\.cgi\?(\S+)$/i) ?? [];
  if (!question) return null;
  const parameters = new URLSearchParams(question.split("#")[0]);
  if (parameters.has("bug_id")) return null;
  for (const key of ["columnlist", "ctype", "format", "query_format", "list_id"]) parameters.delete(key);
  parameters.set("include_fields", "id");
  return parameters.toString();
}

/** The form that the server takes, or null. "UTC" is taken because the feed shows it, and people copy. */
export function parseSince(text) {
  const parts = text.match(/^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d(?:\.\d+)?)?(?:Z| ?UTC)?)?$/i);
  if (!parts) return null;
  const [, date, minutes = "00:00", seconds = ":00"] = parts;
  const since = `${date}T${minutes}${seconds}`;
  const time = new Date(`${since}Z`);
  // 31 February would become a day in March.
  return !Number.isNaN(time.getTime()) && time.toISOString().startsWith(date) ? since : null;
}

export function sinceError(wrong) {
  return `“${shortened(wrong)}” is not a time. Accepted are 2014-04-03 21:13:45 and 2014-04-03, in UTC.`;
}

function shortened(text) {
  return text.length > 40 ? `${text.slice(0, 39)}…` : text;
}

const wholeNumber = new Intl.NumberFormat("en-GB");

export function plural(count, noun) {
  return `${wholeNumber.format(count)} ${noun}${count === 1 ? "" : "s"}`;
}
