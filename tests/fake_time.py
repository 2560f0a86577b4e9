"""A clock that moves only when somebody sleeps on it."""

import asyncio


class FakeTime:
    """``sleep`` returns at once and moves the clock; ``slept`` says for how long each time."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def clock(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)
