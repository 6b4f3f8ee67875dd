"""From the options of a command to the work they describe, or to what is wrong with them."""

from __future__ import annotations

from typing import Any

from fastsip.config.values import DEFAULT_PORT, Listen
from fastsip.launch import TlsSetup

from . import rates
from .addresses import Target, read_transport
from .security import read_tls
from .setup import Answer, Scenario, User
from .sources import room_for
from .users import WrongUsers, read_users
from .work import Answering, Work
from .wrong import Wrong

DEFAULT_USERS = "user0..99"
CONNECTIONS = 8
"""By TCP or TLS, unless it is said, or users register."""
CONNECTIONS_OF_USERS = 1000
"""At most, unless it is said, where each user that registers has his own."""


class Asked:
    """The options of one command, by their names."""

    def __init__(self, name: str, given: dict[str, Any]) -> None:
        self.name = name
        self.given = given
        self.notes: list[str] = []
        """What a person should know before it begins."""
        self.target: Target = _transported(given)

    def work(self) -> Work:
        """Raises Wrong."""
        given = self.given
        users = self.users()
        plan = self.plan()
        answering = self.answering()
        if answering is None and given.get("register"):
            raise Wrong("--register goes with --answer: it registers the users whose calls are answered here")
        scenarios = self.scenarios()
        threads = min(given["threads"], given["count"] or given["threads"])
        needs_bindings = self.name == "register" and given["mode"] != "new"
        self._note_wrap(users, plan)
        prepare = (answering is not None and given["register"] is not False) or needs_bindings
        registers = prepare or any(scenario.kind == "register" for scenario in scenarios)
        tls = read_tls(given, self.target.transport)
        self._check_certificate(answering, tls)
        return Work(
            name=self.name,
            target=self.target,
            scenarios=scenarios,
            plan=plan,
            users=users,
            callees=self.callees(users, answering is not None),
            count=given["count"] or 0,
            in_flight=given["in_flight"],
            sources=list(given["sources"]),
            threads=threads,
            poisson=given["poisson"],
            gather=given["gather"],
            seed=given["seed"],
            answering=answering,
            prepare=prepare,
            connections=self.connections(len(users) if registers else 0),
            contact=given.get("contact") or "",
            expires=given.get("expires", 3600),
            tls=tls,
        )

    def _check_certificate(self, answering: Answering | None, tls: TlsSetup | None) -> None:
        """Raises Wrong where somebody may want to connect to callees who have none."""
        if answering is None or tls is None or tls.certificates:
            return
        if self.given["register"] is False:
            raise Wrong("--no-register: by TLS the callees need a certificate of theirs then, --cert and --key")
        if self.given.get("search") and not self.given["no_baseline"]:
            raise Wrong("--search: by TLS the baseline needs a certificate, --cert and --key; or --no-baseline")

    def users(self) -> list[User]:
        given = self.given
        try:
            if given["users"] == "":
                raise Wrong("--users is empty: expected a file or a pattern such as user0..999@example.com")
            return read_users(given["users"] or DEFAULT_USERS, self.domain, given["password"])
        except WrongUsers as error:
            raise Wrong(f"--users {error}") from None

    def connections(self, registering: int) -> int:
        """By TCP or TLS: how many to the target, where so many users register."""
        asked: int | None = self.given["connections"]
        if self.target.transport == "udp":
            if asked:
                raise Wrong(
                    "--connections is for TCP and TLS: it goes with --transport tcp, or a target such as tcp:127.0.0.1"
                )
            return 0
        number = asked or (min(registering, CONNECTIONS_OF_USERS) if registering else CONNECTIONS)
        room_for(2 * number if self.given.get("answers") else number)
        return number

    def callees(self, users: list[User], answers: bool) -> list[str]:
        """Who is called or written to; nobody means the target itself."""
        if to := self.given.get("to"):
            try:
                return [user.aor for user in read_users(to, self.domain)]
            except WrongUsers as error:
                raise Wrong(f"--to {error}") from None
        return [user.aor for user in users] if answers or self.given["users"] else []

    def plan(self) -> rates.Plan:
        given = self.given
        try:
            return rates.plan(given["rate"], given["duration"], given["step"], given["count"] or 0)
        except ValueError as error:
            raise Wrong(f"--rate {error}" if not str(error).startswith("--") else str(error)) from None

    def answering(self) -> Answering | None:
        given = self.given
        if not given.get("answers"):
            for name, text in (("ring", "--ring"), ("silent", "--silent"), ("listen", "--listen")):
                if given.get(name):
                    raise Wrong(f"{text} is for the callees: it goes with --answer, or with fastsip load answer")
            return None
        answer = Answer(
            ring=given.get("ring", 0),
            busy=given.get("busy", 0.0),
            silent=given.get("silent", False),
            body=given.get("body", 0) if self.name != "message" else 0,
        )
        if not given["listen"]:
            return Answering(answer)
        listen = read_listen(given["listen"], self.target.transport)
        if listen.transport != (self.target.transport):
            raise Wrong(f"--listen {listen}: not the transport of the target, {self.target}")
        return Answering(answer, listen.host, listen.port)

    def scenarios(self) -> list[Scenario]:
        weights = self.given.get("mix") or {self.name: 1.0}
        return [self._scenario(kind, weight) for kind, weight in weights.items()]

    @property
    def domain(self) -> str:
        return self.given["domain"] or self.target.domain

    def _scenario(self, kind: str, weight: float) -> Scenario:
        given = self.given
        if kind == "call":
            return Scenario(
                "call",
                weight=weight,
                hold=given["hold"],
                reinvite=given["reinvite"],
                cancel=given["cancel"],
                cancel_after=given["cancel_after"],
                busy=given["busy"] > 0,
                body=given["body"],
            )
        if kind == "register":
            remove = 1.0 if given.get("mode") == "remove" else 0.0
            return Scenario(
                "register",
                weight=weight,
                expires=given.get("expires", 3600),
                remove=remove,
                contact=given.get("contact") or "",
                fresh=given.get("fresh", False),
            )
        if kind == "message":
            return Scenario("message", weight=weight, body=given.get("body", 20))
        return Scenario("options", weight=weight)

    def _note_wrap(self, users: list[User], plan: rates.Plan) -> None:
        """New registrations are new only while there are users that have none."""
        if self.name != "register" or self.given["mode"] != "new":
            return
        wanted = self.given["count"] or plan.total
        if wanted > len(users) * 1.5:
            self.notes.append(
                f"{wanted:,.0f} registrations of {len(users):,} users: after the first of each they are refreshes"
            )


def _transported(given: dict[str, Any]) -> Target:
    """The target, reached as --transport says. Raises Wrong."""
    target: Target = given["target"]
    asked = given["transport"]
    if asked and target.transport and asked != target.transport:
        raise Wrong(f"--transport {asked}: the target is {target}")
    transport = asked or target.transport or "udp"
    port = DEFAULT_PORT.get(transport, 5060) if target.usual else target.port
    return target._replace(transport=transport, port=port)


def read_listen(text: str, transport: str = "udp") -> Listen:
    """An address to answer at, by a transport unless it says another. Raises Wrong."""
    try:
        listen = Listen.of(text if text.partition(":")[0].isalpha() else f"{transport}:{text}")
    except ValueError:
        raise Wrong(f'--listen {text!r}: expected an address such as "udp:127.0.0.1:5090"') from None
    try:
        read_transport(listen.transport)
    except ValueError as error:
        raise Wrong(f"--listen {text!r}: {error}") from None
    if listen.wildcard:
        raise Wrong(f"--listen {text!r}: expected one address, which peers can answer to")
    return listen
