"""Trickle channels: numbered segments, written by POST and followed by GET, that pass live media along."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

_KEPT_SEGMENTS = 8


@dataclass
class Channel:
    """`next_seq` is the number of the segment that comes next; the newest few before it are kept."""

    mime_type: str
    segments: deque[bytes] = field(default_factory=lambda: deque(maxlen=_KEPT_SEGMENTS))
    next_seq: int = 0
    closed: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def oldest_seq(self) -> int:
        return self.next_seq - len(self.segments)

    async def append(self, data: bytes) -> None:
        async with self.changed:
            self.segments.append(data)
            self.next_seq += 1
            self.changed.notify_all()


@dataclass
class Trickle:
    """The channels of all sessions, named '<session>-<role>'; '-in' is copied to '-out', our whole model."""

    on_stop: Callable[[str], None]
    channels: dict[str, Channel] = field(default_factory=dict)
    _closing: set[asyncio.Task[None]] = field(default_factory=set)

    def open_session(self, session_id: str, base_url: str) -> dict[str, str]:
        """Create the four channels of a session; their URLs by role."""
        types = {
            "in": "video/mp2t",
            "out": "video/mp2t",
            "control": "application/json",
            "events": "application/json",
        }
        self.channels |= {f"{session_id}-{role}": Channel(mime_type) for role, mime_type in types.items()}
        return {role: f"{base_url}/ai/trickle/{session_id}-{role}" for role in types}

    def close_session(self, session_id: str) -> None:
        """Take the session's channels away; whoever waits on one is told that it ended."""
        for name in [name for name in self.channels if name.rpartition("-")[0] == session_id]:
            task = asyncio.ensure_future(_close(self.channels.pop(name)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def routes(self) -> list[web.RouteDef]:
        path = "/ai/trickle/{name}"
        return [
            web.get(path + "/{seq}", self._read),
            web.post(path + "/{seq}", self._write),
            web.delete(path, self._delete),
        ]

    async def _read(self, request: web.Request) -> web.Response:
        channel = self._find(request)
        if request.match_info["seq"] == "next":
            return web.Response(headers={"Lp-Trickle-Latest": str(channel.next_seq)})
        seq = int(request.match_info["seq"])
        if seq < 0:  # -1 is the segment to come, -2 the newest complete one
            seq = max(0, channel.next_seq + 1 + seq)
        if not channel.oldest_seq <= seq <= channel.next_seq:
            return web.Response(status=470, headers={"Lp-Trickle-Latest": str(max(0, channel.next_seq - 1))})
        async with channel.changed:
            await channel.changed.wait_for(lambda: channel.next_seq > seq or channel.closed)
        if channel.next_seq <= seq:
            return web.Response(headers={"Lp-Trickle-Closed": "terminated"})
        headers = {"Lp-Trickle-Seq": str(seq), "Lp-Trickle-Latest": str(channel.next_seq - 1)}
        data = channel.segments[max(0, seq - channel.oldest_seq)]
        return web.Response(body=data, headers=headers, content_type=channel.mime_type)

    async def _write(self, request: web.Request) -> web.Response:
        """A segment. Writers open the next one early and leave it hanging; it counts when it is complete."""
        name, channel = request.match_info["name"], self._find(request)
        data = await request.read()
        if channel.closed:
            raise web.HTTPNotFound(text="Stream not found")
        await channel.append(data)
        if name.endswith("-in") and (output := self.channels.get(name.removesuffix("-in") + "-out")):
            await output.append(data)
        return web.Response()

    async def _delete(self, request: web.Request) -> web.Response:
        """The writer is done; when the input ends, so does the session."""
        name, channel = request.match_info["name"], self._find(request)
        del self.channels[name]
        await _close(channel)
        if name.endswith("-in"):
            self.on_stop(name.removesuffix("-in"))
        return web.Response()

    def _find(self, request: web.Request) -> Channel:
        channel = self.channels.get(request.match_info["name"])
        if channel is None:
            raise web.HTTPNotFound(text="Stream not found")
        return channel


async def _close(channel: Channel) -> None:
    async with channel.changed:
        channel.closed = True
        channel.changed.notify_all()
