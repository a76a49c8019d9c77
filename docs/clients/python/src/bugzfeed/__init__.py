"""A client of a bugzfeed server: it tells which bugs of a Bugzilla change, the moment they change.

It comes back after every loss, and asks for what it has missed. With asyncio::

    async with bugzfeed.Feed("wss://bugzfeed.example.org/") as feed:
        async for update in feed.subscribe([1234, 5678]):
            print(update.bug, update.when)

Without::

    for update in bugzfeed.updates("wss://bugzfeed.example.org/", [1234, 5678]):
        print(update.bug, update.when)
"""

from ._blocking import updates
from ._feed import Feed
from ._subscription import Incomplete, Refused, Subscription, Update

__all__ = ["Feed", "Incomplete", "Refused", "Subscription", "Update", "updates"]
