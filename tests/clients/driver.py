"""Does with the client in Python what it reads from stdin, and prints what it is told."""

import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "docs/clients/python/src"))

import bugzfeed  # noqa: E402


def tell(**line):
    print(json.dumps(line), flush=True)


async def subscribe(feed, subscriptions, bugs, since=None):
    subscription = subscriptions[str(bugs)] = feed.subscribe(bugs, since)
    reading = asyncio.create_task(read(subscription, bugs))
    try:
        complete = await subscription.ready()
        tell(ready=bugs, complete=complete, lacks=subscription.denied)
    except bugzfeed.Refused:
        pass
    await reading


async def read(subscription, bugs):
    try:
        async for bug, when in subscription:
            tell(update=[bug, when])
    except bugzfeed.Refused as refused:
        tell(refused=bugs, reason=str(refused))


async def iterate(feed, bugs, count):
    subscription = feed.subscribe(bugs)
    await subscription.ready()
    tell(ready=bugs)
    async for bug, when in subscription:
        tell(update=[bug, when])
        count -= 1
        if count == 0:
            break
    subscription.close()
    tell(iterated=True)


async def main(url, settings):
    settings = json.loads(settings)
    names = {"retryFirst": "retry_first", "retryMax": "retry_max", "silenceMax": "silence_max", "answerMax": "answer_max"}
    options = {names[name]: settings[name] / 1000 for name in names}
    subscriptions, tasks = {}, set()
    stdin = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    async with bugzfeed.Feed(
        url,
        token=settings.get("token"),
        on_denied=lambda bugs: tell(denied=bugs),
        on_incomplete=lambda incomplete: tell(incomplete=incomplete.bugs, since=incomplete.since),
        on_state=lambda feed: tell(state=feed.state, source=feed.source, pause=feed.pause and feed.pause * 1000),
        **options,
    ) as feed:
        while line := await stdin.readline():
            order = json.loads(line)
            what = order.pop("do")
            if what == "subscribe":
                tasks.add(asyncio.create_task(subscribe(feed, subscriptions, **order)))
            elif what == "iterate":
                tasks.add(asyncio.create_task(iterate(feed, **order)))
            elif what == "unsubscribe":
                subscriptions[str(order["bugs"])].close()
            elif what == "close":
                break
    await asyncio.gather(*tasks)


asyncio.run(main(*sys.argv[1:]))
