"""How many connections a signer process keeps open, and who gives way when there are too many."""

import logging
import resource
from typing import Protocol
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 10_000
_MOST_FILES = 20_000
# Connections to the database and the chain, the keys' files, the log.
_FILES_FOR_OURSELVES = 100


class Guest(Protocol):
    """One connection."""

    def give_way(self) -> None:
        """Ends it."""


class Lobby:
    """Of all connections of a server, in order of arrival, those that did not ask for anything yet.

    A newcomer whom there is no room for takes the place of the one among them that is silent for longest.
    """

    def __init__(self) -> None:
        self._count = 0
        self._was_full = False
        self._silent: dict[Guest, None] = {}

    def enter(self, guest: Guest) -> bool:
        """Whether there is room; whoever entered leaves some time, also when there is none."""
        self._count += 1
        room = _room()
        if self._count <= room:
            self._was_full = self._was_full and self._count > room / 2
        else:
            if not self._was_full:
                self._was_full = True
                logger.warning("%d connections are open, and no more fit; %d are silent", room, len(self._silent))
            oldest = next(iter(self._silent), None)
            if oldest is None:
                return False
            del self._silent[oldest]
            oldest.give_way()
        self._silent[guest] = None
        return True

    def ask(self, guest: Guest) -> None:
        """The guest asked for something: it need not give way any more."""
        self._silent.pop(guest, None)

    def leave(self, guest: Guest) -> None:
        self._count -= 1
        self._silent.pop(guest, None)


_lobbies: WeakKeyDictionary[ServerState, Lobby] = WeakKeyDictionary()


def lobby_of(server: ServerState) -> Lobby:
    """The same one for all connections of a server."""
    lobby = _lobbies.get(server)
    if lobby is None:
        lobby = _lobbies[server] = Lobby()
    return lobby


def allow_many_files() -> None:
    """Of the files that this process may have open; the system's default is meant for programs of another kind."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _room() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, files - _FILES_FOR_OURSELVES)
