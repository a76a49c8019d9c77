// Live figures at the page's foot: updates a minute as a small plot, how late they are, and how often the connection was lost.

const MINUTES = 60;
const WIDTH = 240;
const HEIGHT = 40;
const SVG = "http://www.w3.org/2000/svg";
// What arrives later than this is the past, and says nothing about delays.
const DELAY_MAX_SECONDS = 60;

export class Figures {
  #element;
  // minute → updates
  #counts = new Map();
  #delays = [];
  #losses = 0;

  constructor(element) {
    this.#element = element;
    element.addEventListener("toggle", () => this.#render());
    setInterval(() => this.#render(), 2_000);
  }

  /** An update has arrived. */
  arrived(when) {
    const minute = thisMinute();
    this.#counts.set(minute, (this.#counts.get(minute) ?? 0) + 1);
    for (const old of this.#counts.keys()) if (old <= minute - MINUTES) this.#counts.delete(old);
    const delay = Math.max(0, (Date.now() - Date.parse(`${when}Z`)) / 1_000);
    if (delay < DELAY_MAX_SECONDS) this.#delays = [...this.#delays, delay].slice(-100);
  }

  /** The connection was lost. */
  lost() {
    this.#losses += 1;
  }

  #render() {
    if (!this.#element.open) return;
    const first = thisMinute() - MINUTES + 1;
    const counts = Array.from({ length: MINUTES }, (_, at) => this.#counts.get(first + at) ?? 0);
    const sorted = [...this.#delays].sort((a, b) => a - b);
    const show = (name, text) => (this.#element.querySelector(`[data-figure=${name}]`).textContent = text);
    show("rate", `${counts.at(-1)} in this minute, at most ${Math.max(...counts)} a minute in the last hour`);
    show("delay", sorted.length === 0 ? "none seen yet" : `${sorted[sorted.length >> 1].toFixed(0)} s by this device’s clock; times have whole seconds`);
    show("losses", String(this.#losses));
    this.#element.querySelector("svg").replaceChildren(...bars(counts));
  }
}

function bars(counts) {
  const highest = Math.max(1, ...counts);
  return counts.map((count, at) => {
    const height = (count / highest) * HEIGHT;
    const place = { x: at * (WIDTH / MINUTES), y: HEIGHT - height, width: WIDTH / MINUTES - 1, height };
    const rect = document.createElementNS(SVG, "rect");
    for (const [name, value] of Object.entries(place)) rect.setAttribute(name, String(value));
    return rect;
  });
}

function thisMinute() {
  return Math.floor(Date.now() / 60_000);
}
