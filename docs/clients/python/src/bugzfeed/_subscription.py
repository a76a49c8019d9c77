"""What one caller wants, over all connections: which bugs, what it has got, and what may come again. Knows no connection."""

import asyncio
import re
from collections import Counter, deque
from datetime import datetime, timezone
from typing import AsyncIterator, Callable, Deque, Iterable, List, NamedTuple, Optional, Tuple, Union

# A server remembers 10,000 updates by default: what it can repeat is recognised.
SHOWN_MAX = 10_000
# A subscription that is not read keeps so many updates, and then the newest one of each bug.
QUEUE_MAX = 1_000
BUG_MAX = 2**31 - 1
#: All bugs, where the server offers them.
ALL = "*"

Bug = Union[int, str]
Bugs = Union[int, str, Iterable[int]]


class Update(NamedTuple):
    """A change of a bug."""

    bug: int
    #: UTC, without ``Z``: Bugzilla's ``last_change_time`` less its last character.
    when: str


class Incomplete(NamedTuple):
    """Updates of the past may be missing for these bugs: ask Bugzilla itself once what became of them."""

    bugs: Tuple[Bug, ...]
    since: str


class Refused(Exception):
    """The server took none of a subscription's bugs."""


class Subscription(AsyncIterator[Update]):
    """Some bugs of a feed; iterate over it for their updates. Made by ``Feed.subscribe``."""

    def __init__(self, bugs: Bugs, since: Union[str, datetime, None], drop: Callable[["Subscription"], None]) -> None:
        self.bugs = bug_ids(bugs)
        #: Those of the bugs that are not shown to you, as far as the server has said so.
        self.denied: Tuple[int, ...] = ()
        self._since = since_time(since)
        self._drop = drop
        # The server knows of it, on this connection.
        self._is_sent = False
        # It has been subscribed once, and has got all from its own `since` on: from then on the feed's place is its place.
        self._is_settled = False
        self._is_complete: Optional[bool] = None
        # How often each update was handed over, and how often it may still come again without being new.
        self._shown: Counter[Update] = Counter()
        self._repeats: Counter[Update] = Counter()
        self._waiting: Deque[Update] = deque()
        self._error: Optional[Exception] = None
        self._has_ended = False
        self._changed = asyncio.Event()

    async def ready(self) -> Optional[bool]:
        """Waits until the server has subscribed the bugs and sent what was missed.

        From then on nothing is missed without an ``Incomplete``. Returns the server's word on the time from ``since`` to now:
        None where there was no ``since``. Raises ``Refused``.
        """
        while not self._is_settled and not self._has_ended:
            await self._next_change()
        if self._error is not None:
            raise self._error
        return self._is_complete

    async def __anext__(self) -> Update:
        while not self._waiting and not self._has_ended:
            await self._next_change()
        if self._waiting:
            return self._waiting.popleft()
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def close(self) -> None:
        """Unsubscribes the bugs that nobody else wants, and ends the iteration."""
        self._drop(self)

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _expect_repeats(self) -> None:
        self._repeats = Counter(self._shown)

    def _receive(self, update: Update) -> None:
        if self._repeats[update] > 0:
            self._repeats[update] -= 1
            return
        self._shown[update] += 1
        if len(self._shown) > SHOWN_MAX:
            del self._shown[next(iter(self._shown))]
        if len(self._waiting) >= QUEUE_MAX:
            older = next((waiting for waiting in self._waiting if waiting.bug == update.bug), None)
            if older is not None:
                self._waiting.remove(older)
        self._waiting.append(update)
        self._changed.set()

    def _settle(self) -> None:
        self._is_settled = True
        self._changed.set()

    def _end(self, error: Optional[Exception] = None) -> None:
        self._error = self._error or error
        self._has_ended = True
        self._changed.set()


def bug_ids(bugs: Bugs) -> Tuple[Bug, ...]:
    """The bugs, ascending, each once. Raises ValueError for what is none."""
    if bugs == ALL:
        return (ALL,)
    ids: List[int] = sorted({int(bug) for bug in ([bugs] if isinstance(bugs, (int, str)) else bugs)})
    for bug in ids:
        if not 1 <= bug <= BUG_MAX:
            raise ValueError(f"{bug} is no bug; accepted are 1 to {BUG_MAX}, and '*' for all")
    if not ids:
        raise ValueError("a subscription needs at least one bug")
    return tuple(ids)


def since_time(since: Union[str, datetime, None]) -> Optional[str]:
    """``since`` in the one form in which times compare as texts: 2014-04-03T21:13:45. Raises ValueError for what is no time."""
    if since is None or since == "":
        return None
    if isinstance(since, str):
        text = re.sub(r"\.\d+", "", since.strip())
        try:
            since = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
        except ValueError:
            raise ValueError(f"{text} is no time; accepted is 2014-04-03T21:13:45, in UTC") from None
    if since.tzinfo is not None:
        since = since.astimezone(timezone.utc)
    return since.strftime("%Y-%m-%dT%H:%M:%S")
