"""Facts as the state process applies them. The wire format is told in fastsip/state/facts.py.

What a REGISTER does is RFC 3261 10.3 steps 6 to 8, as a function of the current record, the request and the time.
"""

from fastsip.location import LocationTable
from fastsip.registrar import Removals
from fastsip.state.expiry import Expiry
from fastsip.state.journal import Journal

class Register:
    """One REGISTER fact, authenticated by the worker that sent it, as far as it concerns the bindings."""

    @property
    def index(self) -> int:
        """Its place in the body, from 0."""
    @property
    def readable(self) -> bool:
        """False if only the token could be read: then the rest is empty and `decide` refuses."""
    @property
    def token(self) -> int: ...
    @property
    def aor(self) -> bytes:
        """user@domain, canonical."""
    @property
    def call_id(self) -> bytes: ...
    @property
    def cseq(self) -> int: ...
    @property
    def flags(self) -> int:
        """1: `Contact: *` with `Expires: 0`. 2: only if applied, because the credentials were seen before."""
    @property
    def adds(self) -> bool:
        """Whether a contact is to be bound, not only removed."""
    def decide(self, current: bytes | None, now: int, max_contacts: int, version: int) -> tuple[int, Change | None]:
        """The status to answer, and what changes in the record `current` (of `_location.encode_bindings`) at `now`
        (Unix ms). All changes are made or none; bindings whose time has passed count as gone.

        200 without a change: the bindings say so already. 500: a binding it concerns was set by the same Call-ID with a
        CSeq not lower than this one's (steps 6 and 7). 403: more than `max_contacts` bindings, unless that many were
        there before. 401: only if applied, and it was not. ValueError if `current` is damaged, the fact not readable,
        or the bindings more than a record counts.
        """

class Change:
    """A record after a change, and what there is to know of the one before."""

    @property
    def value(self) -> bytes:
        """The new record, of the version given."""
    @property
    def before(self) -> int:
        """Bindings in the old record, expired ones too."""
    @property
    def count(self) -> int:
        """Bindings in the new record."""
    @property
    def earliest_before(self) -> int:
        """When the first of the old bindings ends, Unix ms; 0 if there was none."""
    @property
    def earliest(self) -> int:
        """The same of the new ones."""
    @property
    def removed(self) -> list[tuple[bytes, int]] | None:
        """Call-ID and CSeq of the bindings whose URI is not there any more, where the REGISTER removed some."""

def apply_plain(
    registers: list[Register],
    outcomes: list[tuple[int, int, int]],
    table: LocationTable,
    journal: Journal | None,
    removals: Removals,
    expiry: Expiry,
    now: int,
    max_contacts: int,
    version: int,
    least: int,
) -> tuple[int, int, int, int]:
    """Apply what follows in `registers` after as many as there are `outcomes`, up to the first that is refused, removes
    something or cannot be published, and append (token, 200, 0) for each. The first that is left has changed nothing.

    Each change gets a version above `version`, and not below `least`. Returns the highest version now, and how many
    REGISTERs were applied, addresses-of-record came, and bindings came.
    """

def without_expired(value: bytes, now: int, version: int) -> Change:
    """The record without bindings whose time has passed at `now` (Unix ms). ValueError if it is damaged."""

class Dialogs:
    """The confirmed dialogs, as far as workers told of them, in the order of confirmation. Calls do not depend on them.

    A bounded table: for a new dialog the oldest is dropped when there are `limit`. A dialog whose BYE nobody saw goes
    after `lifetime` milliseconds. Facts say only that a dialog began and that it ended, so a call that lasts longer is
    not listed any more; it goes on all the same.
    """

    def __init__(self, limit: int = 500_000, lifetime: int = 86_400_000) -> None: ...
    def __len__(self) -> int: ...
    @property
    def dropped(self) -> int:
        """Dialogs left out because there were too many, or no memory."""
    @property
    def expired(self) -> int: ...
    def take_changes(self) -> list[tuple[int, int, int]]:
        """Of each slot of the target table about whose dialogs something changed since this was last asked: the slot,
        its dialogs now, and how many facts came that one was confirmed."""
    def expire(self, now: int, limit: int) -> None:
        """Take out up to `limit` dialogs that were confirmed `lifetime` or longer before `now` (Unix ms)."""
    def list(self, cursor: int, limit: int) -> tuple[int | None, list[dict[str, object]]]:
        """Up to `limit` dialogs numbered from `cursor`, and the number to go on with, None at the end."""

def apply(body: bytes, count: int, known: int, dialogs: Dialogs) -> tuple[list[Register], int]:
    """Read the body of a batch of `count` facts, pass over the first `known`, give `dialogs` what concerns it.

    Returns the REGISTERs in their order, and how many facts were left out because they are none. ValueError unless the
    body is exactly `count` msgpack values; nothing has changed then."""
