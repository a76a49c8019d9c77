// Does with bugzfeed.js what it reads from stdin, and prints what it is told.

import { createInterface } from "node:readline";
import { Bugzfeed } from "../../docs/clients/js/bugzfeed.js";

const [url, settings] = process.argv.slice(2);
const tell = (line) => console.log(JSON.stringify(line));
const feed = new Bugzfeed(url, JSON.parse(settings));
feed.addEventListener("state", () => tell({ state: feed.state, source: feed.source, pause: feed.retryAt && feed.retryAt - Date.now() }));
feed.addEventListener("incomplete", ({ bugs, since }) => tell({ incomplete: bugs, since }));
feed.addEventListener("denied", ({ bugs }) => tell({ denied: bugs }));
feed.addEventListener("refused", ({ bugs, reason }) => tell({ refused: bugs, reason }));

const subscriptions = new Map();

const orders = {
  subscribe({ bugs, since }) {
    const subscription = feed.subscribe(bugs, ({ bug, when }) => tell({ update: [bug, when] }), { since });
    subscriptions.set(String(bugs), subscription);
    subscription.ready.then(({ complete, denied }) => tell({ ready: bugs, complete, lacks: denied }), () => {});
  },
  async iterate({ bugs, count }) {
    const subscription = feed.subscribe(bugs);
    subscription.ready.then(() => tell({ ready: bugs }));
    for await (const { bug, when } of subscription) {
      tell({ update: [bug, when] });
      if (--count === 0) break;
    }
    tell({ iterated: true });
  },
  unsubscribe({ bugs }) {
    subscriptions.get(String(bugs)).close();
  },
  close() {
    feed.close();
  },
};

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const order = JSON.parse(line);
  orders[order.do](order);
  // Nothing but the feed keeps the program alive then.
  if (order.do === "close") process.stdin.destroy();
});
