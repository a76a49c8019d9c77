"""Updates for programs without asyncio: the feed runs in a thread of its own, so that it goes on while its reader is busy."""

import asyncio
import threading
from datetime import datetime
from typing import Any, Callable, Coroutine, Iterator, Optional, TypeVar, Union

from ._feed import Feed
from ._subscription import Bugs, Incomplete, Subscription, Update

T = TypeVar("T")


def updates(
    url: str,
    bugs: Bugs,
    since: Union[str, datetime, None] = None,
    on_incomplete: Optional[Callable[[Incomplete], None]] = None,
    **options: Any,
) -> Iterator[Update]:
    """Yields the updates of some bugs, for as long as it is iterated over. The arguments are those of ``Feed`` and ``subscribe``.

    ``on_incomplete`` is called in the feed's thread. Leaving the loop closes the connection.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="bugzfeed", daemon=True)
    thread.start()

    def do(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    async def start() -> "tuple[Feed, Subscription]":
        feed = Feed(url, on_incomplete=on_incomplete, **options)
        subscription = feed.subscribe(bugs, since)
        await feed.__aenter__()
        return feed, subscription

    try:
        feed, subscription = do(start())
        try:
            while True:
                yield do(subscription.__anext__())
        finally:
            do(feed.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
