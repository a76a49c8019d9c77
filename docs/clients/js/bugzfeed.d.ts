/** A change of a bug. */
export interface Update {
  bug: number;
  /** UTC, without `Z`: Bugzilla's `last_change_time` less its last character. */
  when: string;
}

export type State = "connecting" | "live" | "waiting" | "closed";

export interface Options {
  /** Closes the feed when it aborts. */
  signal?: AbortSignal;
  /** What a server with `--access` wants: its token, or an API key of Bugzilla's. A function is called before each attempt to connect. */
  token?: string | (() => string | null | Promise<string | null>);
  /** The class of WebSockets; by default the platform's, and in Node.js before 22 one that is brought along. */
  WebSocket?: new (url: string, protocols: string[]) => unknown;
  /** The longest first pause before a new attempt, in ms; 500. Each pause is random between 0 and 1.5 times the longest before. */
  retryFirst?: number;
  /** The longest pause of all, in ms; 30,000. */
  retryMax?: number;
  /** How often the server is asked how it is, in ms; 30,000. */
  silenceMax?: number;
  /** How long it may take to connect, and to answer, in ms; 15,000. */
  answerMax?: number;
}

export interface SubscribeOptions {
  /** Also hands over what changed at this time or later. Take it from Bugzilla: the newest `last_change_time` that you know. */
  since?: string | Date | null;
  /** Closes the subscription when it aborts. */
  signal?: AbortSignal;
}

/** Updates of the past may be missing for these bugs: ask Bugzilla itself once what became of them. */
export interface IncompleteEvent extends Event {
  readonly bugs: readonly number[] | "*";
  readonly since: string;
}

/** The server refused to subscribe these bugs; their subscription has ended. */
export interface RefusedEvent extends Event {
  readonly bugs: readonly number[] | "*";
  readonly reason: string;
}

/** These bugs are not shown to you, or are not there. They are asked for again on each connection, and this may come again. */
export interface DeniedEvent extends Event {
  readonly bugs: readonly number[];
}

export interface BugzfeedEvents {
  /** `state` or `source` has changed, or another attempt is due at another time. */
  state: Event;
  incomplete: IncompleteEvent;
  refused: RefusedEvent;
  denied: DeniedEvent;
}

/** One feed of a server, over all its connections. */
export class Bugzfeed extends EventTarget {
  /** The address may begin with ws:, wss:, http: or https:, and be relative in a browser. */
  constructor(url: string | URL, options?: Options);
  readonly url: string;
  readonly state: State;
  /** When the next attempt is due, as Date.now() counts; null unless waiting. */
  readonly retryAt: number | null;
  /** How the last connection ended; `wasOpen` is false where none came about. */
  readonly lost: { code: number; reason: string; wasOpen: boolean } | null;
  /** Whether the server reads Bugzilla's changes, as far as it has said so. */
  readonly source: "up" | "down" | null;
  /** Where the feed stands: what to give as `since` to go on from here in another run. Null before the first subscription. */
  readonly place: string | null;
  /** All bugs that are subscribed by their numbers, ascending. */
  readonly bugs: number[];
  /** `bugs` may be "*", all bugs, where the server has the option `--firehose`. */
  subscribe(bugs: number | string | Iterable<number | string>, onUpdate: (update: Update) => void, options?: SubscribeOptions): Subscription;
  subscribe(bugs: number | string | Iterable<number | string>, options?: SubscribeOptions): Subscription;
  /** Ends a wait, or looks whether the connection is alive. Browsers' own signs that network or reader are back do this, too. */
  wake(): void;
  /** Connects anew, with what `token` says by now. */
  reconnect(): void;
  close(): void;
  addEventListener<K extends keyof BugzfeedEvents>(type: K, listener: (event: BugzfeedEvents[K]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

/** Some bugs of a feed. Without a callback, iterate over it; leaving the loop closes it. */
export interface Subscription extends AsyncIterable<Update> {
  /** Ascending; ["*"] for all. */
  readonly bugs: readonly (number | "*")[];
  /**
   * Settles once the server has subscribed the bugs and sent what was missed: from then on nothing is missed without an event
   * `incomplete`. `complete` is undefined where no `since` was given, and `denied` are those of the bugs that are not shown to you.
   * Rejects when the server refuses, or at close().
   */
  readonly ready: Promise<{ complete: boolean | undefined; denied: number[] }>;
  close(): void;
}
