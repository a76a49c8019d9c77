"""One feed of a server, over all its connections, with asyncio."""

import asyncio
import json
import logging
import random
import re
import time
from collections import deque
from datetime import datetime, timedelta, timezone
from functools import partial
from types import TracebackType
from typing import Any, Callable, Deque, Dict, Iterable, List, Optional, Set, Tuple, Type, Union
from urllib.parse import urlsplit

import websockets
from websockets.exceptions import WebSocketException

from ._subscription import ALL, Bug, Bugs, Incomplete, Refused, Subscription, Update

# With full jitter and this growth, a server that was away for a time is found again within about that time.
RETRY_GROWTH = 1.5
# A connection that lived for so long was a good one. Forgetting earlier failures sooner would let a server that accepts and
# closes at once get two connections a second, for ever.
STEADY_SECONDS = 10.0
# A look that comes later than this has slept with its machine.
SLEEP_SECONDS = 10.0
# Where a server does not say where its feed stands, this machine's clock does until the first update. It may be a little ahead.
CLOCK_MARGIN = timedelta(seconds=60)
# A time further ahead than this is a mistake of somebody, and no time to resume from: a server would believe it no more.
AHEAD_MAX = timedelta(days=1)
BEFORE_ALL = "1970-01-01T00:00:00"
# What a subprotocol can be, and so a token.
TOKEN = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
# A server's messages are an update, or a list of at most some 10,000 bugs.
MESSAGE_BYTES_MAX = 16 * 1024 * 1024

log = logging.getLogger("bugzfeed")

Reply = Dict[str, Any]
Answered = Callable[[Reply], None]


class Batch:
    """Subscriptions that are sent to a server together."""

    def __init__(self, subscriptions: List[Subscription]) -> None:
        self.subscriptions = subscriptions
        self.watermark: Optional[str] = None
        # Those that the server does not show to this reader.
        self.denied: Set[int] = set()
        self.sent_at = datetime.now(timezone.utc)


class Feed:
    """One feed of a server. Use it with ``async with``: it connects, and comes back after each loss, until the end of the block.

    ``url`` may begin with ws, wss, http or https. ``token`` is what a server with ``--access`` wants: its token, or an API key of
    Bugzilla's; a function is called before each attempt to connect. ``on_incomplete`` is called when updates may be missing, and
    ``on_denied`` with bugs that are not shown to you, or are not there; without them, that is a warning of the logger
    ``bugzfeed``. ``on_state`` is called when ``state`` changes. All times are in seconds: each pause before
    a new attempt is random, at first up to ``retry_first``, at last up to ``retry_max``; each ``silence_max`` the server is
    asked how it is, and must answer within ``answer_max``. All other arguments go to ``websockets.connect``.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Union[str, Callable[[], Optional[str]], None] = None,
        on_incomplete: Optional[Callable[[Incomplete], None]] = None,
        on_denied: Optional[Callable[[Tuple[int, ...]], None]] = None,
        on_state: Optional[Callable[["Feed"], None]] = None,
        retry_first: float = 0.5,
        retry_max: float = 30.0,
        silence_max: float = 30.0,
        answer_max: float = 15.0,
        **connect: Any,
    ) -> None:
        self.url = feed_url(url)
        #: "connecting", "live", "waiting" (for ``pause`` seconds) or "closed".
        self.state = "connecting"
        #: How long the feed waits before its next attempt, in seconds; None unless waiting.
        self.pause: Optional[float] = None
        #: How the last connection ended; None before the first end.
        self.lost: Optional[str] = None
        #: Whether the server reads Bugzilla's changes, "up" or "down", as far as it has said so.
        self.source: Optional[str] = None
        self._token = token
        self._on_incomplete = on_incomplete
        self._on_denied = on_denied
        self._on_state = on_state
        self._retry_first = retry_first
        self._retry_max = retry_max
        self._silence_max = silence_max
        self._answer_max = answer_max
        self._connect_options = connect
        self._task: Optional["asyncio.Task[None]"] = None
        self._woken = asyncio.Event()
        self._failures = 0
        self._heard_at = 0.0
        self._asked_at = 0.0

        self._subscriptions: List[Subscription] = []
        self._of_bug: Dict[Bug, List[Subscription]] = {}
        # Bugs that nobody wants any more and the server still sends.
        self._dropped: Set[Bug] = set()
        self._is_flush_due = False
        # What is to be sent on this connection; None where there is none.
        self._outgoing: Optional["asyncio.Queue[Dict[str, Any]]"] = None
        # Commands without a reply, oldest first. Only the order, which the server keeps, ties a reply to its command.
        self._unanswered: Deque[Answered] = deque()
        # Where to resume what is settled: all that arrived up to this time has been handed over.
        self._newest: Optional[str] = None

    async def __aenter__(self) -> "Feed":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()

    def subscribe(self, bugs: Bugs, since: Union[str, datetime, None] = None) -> Subscription:
        """Subscribes bugs ("*": all): iterate over the result for their updates from now on, or from ``since`` on.

        Take ``since`` from Bugzilla: the newest ``last_change_time`` that you know.
        """
        if self.state == "closed":
            raise RuntimeError("the feed is closed")
        subscription = Subscription(bugs, since, self._drop)
        self._subscriptions.append(subscription)
        for bug in subscription.bugs:
            self._of_bug.setdefault(bug, []).append(subscription)
        self._flush_soon()
        return subscription

    @property
    def place(self) -> Optional[str]:
        """Where the feed stands: what to give as ``since`` to go on from here in another run; None before the first subscription."""
        return self._newest

    def wake(self) -> None:
        """Ends a wait, or looks whether the connection is alive."""
        self._woken.set()
        self._ask()

    async def close(self) -> None:
        """Ends the connection and all subscriptions, for good."""
        if self.state == "closed":
            return
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for subscription in self._subscriptions:
            subscription._end()
        self._become("closed")

    # ---- Connection ----

    async def _run(self) -> None:
        while True:
            self._become("connecting")
            opened_at: Optional[float] = None
            try:
                async with websockets.connect(
                    self.url,
                    ping_interval=None,
                    open_timeout=self._answer_max,
                    close_timeout=1,
                    max_size=MESSAGE_BYTES_MAX,
                    **self._with_token(),
                ) as socket:
                    opened_at = time.monotonic()
                    await self._follow(socket)
            except (OSError, EOFError, ValueError, asyncio.TimeoutError, WebSocketException) as error:
                self.lost = str(error) or type(error).__name__
            self._forget_connection()
            if opened_at is not None and time.monotonic() - opened_at >= STEADY_SECONDS:
                self._failures = 0
            await self._wait()

    def _with_token(self) -> Dict[str, Any]:
        token = self._token() if callable(self._token) else self._token
        if not token:
            return self._connect_options
        if not TOKEN.fullmatch(token):
            raise ValueError("the token has characters that no token has")
        # The library's versions have several names for header fields, and one for subprotocols. The first one is answered.
        return {**self._connect_options, "subprotocols": ["bugzfeed", f"bearer.{token}"]}

    async def _wait(self) -> None:
        longest = min(self._retry_max, self._retry_first * RETRY_GROWTH**self._failures)
        self._failures += 1
        self.pause = random.uniform(0, longest)
        log.info("lost %s: %s; trying again in %.1f s", self.url, self.lost, self.pause)
        self._become("waiting")
        self._woken.clear()
        try:
            # Nothing shorter than a timer's tick may become a busy loop.
            await asyncio.wait_for(self._woken.wait(), max(self.pause, 0.01))
        except asyncio.TimeoutError:
            pass
        self.pause = None

    async def _follow(self, socket: Any) -> None:
        self._outgoing = asyncio.Queue()
        self._heard_at = time.monotonic()
        sender = asyncio.create_task(self._send_all(socket, self._outgoing))
        try:
            self._flush()
            self._ask()
            self._become("live")
            await self._read(socket)
        except ConnectionAbortedError:
            # The library would wait long for the server's part of a close.
            socket.transport.abort()
            raise
        finally:
            sender.cancel()

    async def _read(self, socket: Any) -> None:
        tick = min(5.0, self._silence_max / 3, self._answer_max / 3)
        looked_at = time.time()
        # Cancelled by a timeout, a message could be lost: so one read lasts as long as it takes.
        reading = asyncio.ensure_future(socket.recv())
        try:
            while True:
                await asyncio.wait({reading}, timeout=tick)
                if reading.done():
                    self._receive(reading.result())
                    reading = asyncio.ensure_future(socket.recv())
                now, before, looked_at = time.monotonic(), looked_at, time.time()
                if self._unanswered:
                    if now - max(self._heard_at, self._asked_at) >= self._answer_max:
                        raise ConnectionAbortedError("the server does not answer")
                elif now - self._asked_at >= self._silence_max or looked_at - before > tick + SLEEP_SECONDS:
                    self._ask()
        finally:
            reading.cancel()

    async def _send_all(self, socket: Any, outgoing: "asyncio.Queue[Dict[str, Any]]") -> None:
        while True:
            command = await outgoing.get()
            try:
                await socket.send(json.dumps(command, separators=(",", ":")))
            except WebSocketException:
                # Whoever reads learns of the end.
                return

    def _forget_connection(self) -> None:
        self._outgoing = None
        self._unanswered.clear()
        self._dropped.clear()
        for subscription in self._subscriptions:
            subscription._is_sent = False

    def _become(self, state: str, source: Optional[str] = None) -> None:
        source = source or self.source
        if state == self.state == "live" and source == self.source:
            return
        self.state = state
        self.source = source
        if self._on_state is not None:
            self._on_state(self)

    # ---- Commands ----

    def _send(self, command: Dict[str, Any], answered: Answered = lambda reply: None) -> None:
        assert self._outgoing is not None
        self._asked_at = time.monotonic()
        self._unanswered.append(answered)
        self._outgoing.put_nowait(command)

    def _ask(self) -> None:
        # An older server knows no such command, and says so: that is an answer, too. Others tell from then on when that changes.
        if self._outgoing is not None:
            self._send({"command": "status", "feed": True}, lambda reply: self._become(self.state, reply.get("source")))

    def _flush_soon(self) -> None:
        # Many subscriptions in a row are one message.
        if not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Tells the server what it does not know yet, in a few messages, however many subscriptions there are."""
        self._is_flush_due = False
        if self._outgoing is None:
            return
        dropped = self._dropped - self._of_bug.keys()
        self._dropped.clear()
        for bugs in as_arguments(dropped):
            self._send({"command": "unsubscribe", "bugs": bugs})
        unsent = [subscription for subscription in self._subscriptions if not subscription._is_sent]
        if not unsent:
            return
        batch = Batch(unsent)
        past = [subscription for subscription in unsent if not subscription._is_settled and subscription._since]
        fresh = [subscription for subscription in unsent if not subscription._is_settled and not subscription._since]
        self._send_subscribe(batch, [subscription for subscription in unsent if subscription._is_settled], self._newest)
        self._send_subscribe(batch, past, min((subscription._since or "" for subscription in past), default=None))
        self._send_subscribe(batch, fresh, None)
        # The updates that were missed follow their reply at once, so the next reply marks their end.
        self._send({"command": "version"}, lambda reply: self._settle(batch))

    def _send_subscribe(self, batch: Batch, subscriptions: List[Subscription], since: Optional[str]) -> None:
        for subscription in subscriptions:
            subscription._is_sent = True
        for bugs in as_arguments({bug for subscription in subscriptions for bug in subscription.bugs}):
            extra: Dict[str, Any] = {"since": since} if since else {"watermark": True}
            answered = partial(self._subscribed, batch, bugs, since)
            self._send({"command": "subscribe", "bugs": bugs, **extra}, answered)

    def _drop(self, subscription: Subscription) -> None:
        if subscription not in self._subscriptions:
            return
        self._subscriptions.remove(subscription)
        for bug in subscription.bugs:
            others = self._of_bug[bug]
            others.remove(subscription)
            if not others:
                del self._of_bug[bug]
                self._dropped.add(bug)
        subscription._end()
        self._flush_soon()

    # ---- Messages ----

    def _receive(self, text: Union[str, bytes]) -> None:
        self._heard_at = time.monotonic()
        try:
            message = json.loads(text)
        except ValueError:
            return
        if not isinstance(message, dict):
            return
        if message.get("command") == "update":
            self._receive_update(Update(message["bug"], message["when"]))
        elif message.get("command") == "feed":
            self._receive_state(message.get("state"))
        elif "result" in message:
            if self._unanswered:
                self._unanswered.popleft()(message)

    def _receive_state(self, state: Optional[str]) -> None:
        if state in ("up", "down"):
            self._become(self.state, state)
        elif state == "gap":
            # The server knows best what to do, as after a loss of the connection.
            for subscription in self._subscriptions:
                subscription._is_sent = False
            self._flush()

    def _receive_update(self, update: Update) -> None:
        self._resume_from(update.when)
        # It may have been sent before the server had read our unsubscribe.
        for key in (update.bug, ALL):
            for subscription in list(self._of_bug.get(key, ())):
                subscription._receive(update)

    def _subscribed(self, batch: Batch, bugs: Union[str, List[int]], since: Optional[str], reply: Reply) -> None:
        wanted: List[Bug] = [bug for bug in (bugs if isinstance(bugs, list) else [ALL]) if bug in self._of_bug]
        subscriptions = {subscription for bug in wanted for subscription in self._of_bug[bug]}
        if reply["result"] == "error":
            for subscription in subscriptions.intersection(batch.subscriptions):
                subscription._end(Refused(str(reply.get("error"))))
                self._drop(subscription)
            return
        self._note_denied(batch, reply.get("denied", []))
        if "watermark" in reply:
            # None is the place of a feed in which nothing has happened yet.
            batch.watermark = reply["watermark"] or BEFORE_ALL
        if not since:
            return
        is_complete = reply.get("complete") is True
        for subscription in subscriptions:
            if subscription._since and not subscription._is_settled:
                subscription._is_complete = is_complete and subscription._is_complete is not False
        # What those have got who were there before may come again, too.
        for subscription in self._subscriptions:
            subscription._expect_repeats()
        if wanted and not is_complete:
            self._report(Incomplete(tuple(wanted), since))

    def _settle(self, batch: Batch) -> None:
        """All that was missed has come: what follows is new, even if it looks like what came before."""
        if batch.watermark is not None:
            self._resume_from(batch.watermark)
        elif self._newest is None:
            self._newest = (batch.sent_at - CLOCK_MARGIN).strftime("%Y-%m-%dT%H:%M:%S")
        for subscription in batch.subscriptions:
            subscription.denied = tuple(bug for bug in subscription.bugs if isinstance(bug, int) and bug in batch.denied)
            subscription._settle()
        for subscription in self._subscriptions:
            subscription._repeats.clear()

    def _note_denied(self, batch: Batch, denied: List[int]) -> None:
        wanted = tuple(bug for bug in denied if bug in self._of_bug)
        batch.denied.update(wanted)
        if wanted and self._on_denied is not None:
            self._on_denied(wanted)
        elif wanted:
            log.warning("not shown to you, or not there: the bugs %s", wanted)

    def _report(self, incomplete: Incomplete) -> None:
        if self._on_incomplete is not None:
            self._on_incomplete(incomplete)
        else:
            log.warning("updates since %s may be missing: ask Bugzilla once for the bugs %s", incomplete.since, incomplete.bugs)

    def _resume_from(self, when: str) -> None:
        if is_credible(when) and (self._newest is None or when > self._newest):
            self._newest = when


def feed_url(text: str) -> str:
    """The address of a feed, by its WebSocket scheme. Raises ValueError for what is none."""
    url = urlsplit(text)
    scheme = {"http": "ws", "https": "wss"}.get(url.scheme, url.scheme)
    if scheme not in ("ws", "wss") or not url.netloc:
        raise ValueError(f"{text} is no address of a feed; accepted are ws, wss, http and https")
    return url._replace(scheme=scheme, fragment="", path=url.path or "/").geturl()


def as_arguments(bugs: Iterable[Bug]) -> List[Union[str, List[int]]]:
    """The values of ``bugs`` in commands: all bugs are no part of a list."""
    ids = sorted(bug for bug in bugs if isinstance(bug, int))
    arguments: List[Union[str, List[int]]] = [ids] if ids else []
    return arguments + ([ALL] if ALL in bugs else [])


def is_credible(when: str) -> bool:
    """Whether to resume from this time: from a broker, a time is passed on exactly as it came."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", when):
        return False
    latest = datetime.now(timezone.utc) + AHEAD_MAX
    return when <= latest.strftime("%Y-%m-%dT%H:%M:%S")
