"""One update: asks, judges, brings, activates, reports; it believes nothing itself and knows no file format.

What is believed is `container.decision`'s to say, what it makes of the state `container.state`'s, what lies on disk
`container.storage`'s. It runs under the storage's lock, and writes every step down before it takes the next.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import msgspec

from container.chain import Chain
from container.config import Config
from container.courier import Courier
from container.decision import Held, Plan, is_declined, is_stale, make_plan, read_offer, tell_time
from container.device import Device
from container.errors import (
    ConfigError,
    ContainerError,
    EdgeError,
    NetworkError,
    OverloadedError,
    StorageError,
    VerificationError,
)
from container.events import Events
from container.installer import Delivery, Installer
from container.outcome import Outcome, Status, tell
from container.passport import MAX_TRIALS, Passport
from container.preset import Preset, plan_preset
from container.route import Random
from container.state import State
from container.storage import Storage
from container.wire import (
    MAX_PROGRAMS,
    MAX_REPORTED,
    Answer,
    Event,
    Happening,
    Update,
    decode_answer,
    encode_question,
    encode_report,
)
from trust import PackageClaim, Root

# A root document has 64 KiB at most, which `trust` holds it to; whatever is longer is not read to its end.
MAX_ROOT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class _Judge:
    """The root to judge by, and why it is not a newer one, if an edge has told of one."""

    root: Root
    trouble: ContainerError | None = None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What became of an update, what that makes of the state, and the format of the transfer that it took."""

    status: Status
    change: Callable[[State], State] = lambda state: state
    transfer: str = ""


class Updater:
    """Updates the programs in a storage; `now` is in seconds, `poll_after` what an edge has said last."""

    def __init__(
        self,
        config: Config,
        device: Device,
        *,
        storage: Storage,
        courier: Courier,
        events: Events,
        passport: Passport,
        now: Callable[[], float],
        random: Random,
    ) -> None:
        self._config = config
        self._device = device
        self._storage = storage
        self._courier = courier
        self._events = events
        self._passport = passport
        self._now = now
        self._random = random
        self.poll_after = config.defaults.poll_after
        self._chain = Chain(config, storage)
        self._installer = Installer(courier, storage, events)

    def tell_time(self, state: State) -> int:
        """Returns the time to judge by, once a state is known."""
        return tell_time(self._now(), max(state.issued, self._config.issued))

    def ask(self, programs: Sequence[str] | None) -> Answer:
        """Returns what an edge says about programs, by default those to be kept up to date; see `Container.check`."""
        state = self._storage.load()
        asked_about = self._list_kept(state) if programs is None else programs
        asked = {program: self._tell_version(program, state) for program in asked_about}
        if len(asked) > MAX_PROGRAMS:
            raise ConfigError(f"expected at most {MAX_PROGRAMS} programs in a check, got {len(asked)}: ask for fewer")
        if not asked:
            return Answer(revision=0, poll_after=self._config.defaults.poll_after)
        body = encode_question(self._config.workspace, self._device, asked, self._passport.trials()[:MAX_TRIALS])
        read = partial(decode_answer, asked=list(asked))
        answer = self._courier.post("/v1/check", body, read, self._passport.proof())
        self.poll_after = answer.poll_after
        return answer

    def _list_kept(self, state: State) -> list[str]:
        """Those installed, those that were and did not come up, and those that the configuration names."""
        kept = [program for program, record in state.programs.items() if record.version or record.declined]
        return list(dict.fromkeys([*kept, *self._config.defaults.programs]))

    def _tell_version(self, program: str, state: State) -> str:
        """The version installed; none where its files are gone, so that it is offered again."""
        record = state.record(program)
        return record.version if self._storage.has(program, record) else ""

    def run(self, programs: Sequence[str] | None) -> list[Outcome]:
        """Brings programs to what an edge says; see `Container.update`. Under the storage's lock."""
        outcomes = self._ask_and_obey(programs)
        outcomes = self._ask_elsewhere(outcomes)
        if any(isinstance(outcome.error, VerificationError | EdgeError) for outcome in outcomes):
            self._courier.turn_away()
        self._storage.sweep()
        with suppress(StorageError):  # what is not known to be reported is reported again, and counts once
            self._report()
        return outcomes

    def _ask_elsewhere(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Another edge may not be behind: it is asked once."""
        stale = [outcome.update.program for outcome in outcomes if outcome.status == "stale"]
        if not stale or not self._courier.has_another:
            return outcomes
        self._courier.turn_away()
        again: dict[str, Outcome] = {}
        with suppress(ContainerError):
            again = {outcome.update.program: outcome for outcome in self._ask_and_obey(stale)}
        return [again.get(outcome.update.program, outcome) for outcome in outcomes]

    def _ask_and_obey(self, programs: Sequence[str] | None) -> list[Outcome]:
        answer = self.ask(programs)
        judge = self._follow(answer)
        self._change(lambda state: state.with_root(judge.root))
        self._check_root(judge)
        outcomes = [self._apply(update, judge) for update in answer.updates]
        offered = {update.program for update in answer.updates}
        asked_about = self._list_kept(self._storage.load()) if programs is None else programs
        self._change(lambda state: state.with_nothing_offered(set(asked_about) - offered))
        return outcomes

    def _follow(self, answer: Answer) -> _Judge:
        """What the known root vouches for is done also where a newer one is not to be had, or is none."""
        try:
            return _Judge(self._chain.follow(answer.root, self._fetch_root))
        except (NetworkError, EdgeError, VerificationError) as error:
            return _Judge(self._chain.root, error)

    def _fetch_root(self, number: int) -> bytes:
        return self._courier.get(f"/v1/root/{number}?workspace={self._config.workspace}", MAX_ROOT_BYTES)

    def _check_root(self, judge: _Judge) -> None:
        now, root = self.tell_time(self._storage.load()), judge.root
        if now < root.expires:
            return
        if judge.trouble:
            raise judge.trouble
        raise ConfigError(f"expected a root valid now ({now}), got one that expired at {root.expires}: ship another")

    def _apply(self, update: Update, judge: _Judge) -> Outcome:
        started, moved = self._now(), self._courier.moved
        before = self._storage.load().record(update.program).version

        def conclude(status: Status, error: ContainerError | None = None, transfer: str = "") -> Outcome:
            spent_ms = max(0, round((self._now() - started) * 1000))
            return Outcome(update, status, before, error, transfer, self._courier.moved - moved, spent_ms)

        try:
            verdict = self._obey(update, judge)
            outcome = conclude(verdict.status, None, verdict.transfer)
            self._change(verdict.change, *tell(outcome))
        except ContainerError as error:
            outcome = conclude("failed", _blame(error, judge))
            with suppress(ContainerError):  # what cannot be written down is told all the same
                self._change(_keep, *tell(outcome))
        self._notify(outcome)
        return outcome

    def _obey(self, update: Update, judge: _Judge) -> _Verdict:
        program = update.program
        state = self._storage.load()
        offer = read_offer(update, self._config.workspace, judge.root)
        if is_stale(offer, state.held(program), judge.root.epoch):
            return _Verdict("stale")
        state = self._change(lambda state: state.with_seen(offer))
        held = self._hold(program, state)
        if is_declined(offer, held):
            return _Verdict("declined")
        self._check_root(judge)  # the offer may say that it is later than was known
        plan = make_plan(update, offer, judge.root, held, self.tell_time(state))
        if plan.package is None:
            return _Verdict("removed", lambda state: state.without(program))
        return self._bring(update, plan, plan.package)

    def _hold(self, program: str, state: State) -> Held:
        """What is there of a program: nothing where its files are gone."""
        held = state.held(program)
        if self._storage.has(program, state.record(program)):
            return held
        return Held("", held.seen, declined=held.declined)

    def _bring(self, update: Update, plan: Plan, claim: PackageClaim) -> _Verdict:
        program, wanted = claim.program, tuple(way.transfer.sha256 for way in plan.ways)
        is_begun = self._storage.load().record(program).wanted == wanted
        state = self._change(lambda state: state.with_wanted(program, wanted, is_forced=update.urgency == "force"))
        if not is_begun:
            self._storage.sweep()  # makes room: what was begun before is not wanted any more
        if update.download == "wifi" and self._device.network not in ("wifi", ""):
            return _Verdict("deferred")
        delivery = self._installer.bring(plan, claim, state.record(program), update.key)
        return self._place(update, plan, delivery)

    def _place(self, update: Update, plan: Plan, delivery: Delivery) -> _Verdict:
        """Activates what was brought, or has it wait for the user's word: where nothing is active, nobody is asked."""
        offer, transfer = plan.offer, delivery.transfer.format if delivery.transfer else ""
        installed = msgspec.structs.replace(delivery.installed, release=update.release)
        is_rollback = offer.action == "rollback"
        record = self._storage.load().record(offer.program)
        if update.urgency == "prompt" and record.version and record.sha256 != offer.sha256:
            return _Verdict(
                "ready",
                lambda state: state.with_ready(offer.program, installed, offer.expires, is_rollback=is_rollback),
                transfer,
            )
        return _Verdict(
            "activated", lambda state: state.with_active(offer.program, installed, is_rollback=is_rollback), transfer
        )

    def take_preset(self, preset: Preset) -> None:
        """Installs what the host app ships, where nothing or less is installed. Under the storage's lock.

        What fails for one program is an event, and stops no other.
        """
        for update in preset.updates:
            try:
                self._take(update, preset)
            except ContainerError as error:
                self._events.failed(update.program, error.reason)
        self._storage.sweep()

    def wants(self, preset: Preset) -> bool:
        """Says whether there is anything in a preset to install or to name."""
        return preset.workspace == self._config.workspace and any(map(self._may_take, preset.updates))

    def _may_take(self, update: Update) -> bool:
        try:
            return self._plan_preset(update, self._storage.load()) is not None
        except VerificationError:
            return True

    def _plan_preset(self, update: Update, state: State) -> Plan | None:
        return plan_preset(update, self._config.workspace, self._chain.root, self._hold(update.program, state))

    def _take(self, update: Update, preset: Preset) -> None:
        state = self._storage.load()
        plan = self._plan_preset(update, state)
        if plan is None or plan.package is None:
            return
        delivery = self._installer.take(plan, plan.package, state.record(update.program), update.key, preset)
        installed = msgspec.structs.replace(delivery.installed, release=update.release)
        outcome = Outcome(update, "activated", state.record(update.program).version, None, "preset")
        self._change(lambda state: state.with_seen(plan.offer).with_active(update.program, installed), *tell(outcome))

    def _change(self, step: Callable[[State], State], *happenings: Happening) -> State:
        """Changes the state, in one step with what is to be reported of that, and of what marks say."""
        state, happened = self._storage.settle()
        events = [self._date(happening) for happening in (*happened, *happenings)]
        state = step(state).with_events(events)
        self._storage.save(state)
        return state

    def _date(self, happening: Happening) -> Event:
        nonce = f"{self._random.getrandbits(128):032x}"
        return Event(**msgspec.structs.asdict(happening), at=int(self._now()), nonce=nonce)

    def _notify(self, outcome: Outcome) -> None:
        update = outcome.update
        if outcome.error:
            self._events.failed(update.program, outcome.error.reason)
        if outcome.status == "ready":
            self._events.update_ready(update.program, update.version, update.urgency)

    def _report(self) -> None:
        """Tells an edge what has happened; a report that gets nowhere is sent after the next update."""
        while events := self._storage.load().outbox[:MAX_REPORTED]:
            body = encode_report(self._config.workspace, self._device, events)
            try:
                self._courier.post("/v1/report", body, bytes)
            except (NetworkError, OverloadedError):
                return
            except EdgeError:
                pass  # refused for what it says: it would be again
            self._change(partial(State.without_events, told=events))


def _keep(state: State) -> State:
    return state


def _blame(error: ContainerError, judge: _Judge) -> ContainerError:
    """Names why a newer root is not known, where that may be why an offer or a package is not believed: no attack."""
    is_unknown = error.reason in ("offer_refused", "package_refused")
    return judge.trouble if judge.trouble and is_unknown else error
