"""The simulation: messages come at random, agents work on them, brokers learn of the answers."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import count
from random import Random

import msgspec

from broker.core.agent import Agent
from broker.core.messages import AnswersSeen, ChatMessage
from broker.core.routing.policy import Policy
from tests.bench.policies.oracles import AnswersAt, oracle_of_all, oracle_of_two
from tests.bench.policies.results import Simulated
from tests.bench.policies.simulated_broker import SimulatedBroker
from tests.bench.policies.workers import Outage, Spread, Worker, capacity, crowd

_LOAD = 0.7
_EFFORT_SIGMA = 0.5
"""Of the logarithm of a message's effort: 90 % of them take 0.39 to 2 times the average."""
_CONVERSATIONS = 10_000
_NEWS_DELAY = 0.02
"""Seconds from one broker to the other."""
_DUE = 10
"""Answers after which an agent that hangs should not be trusted any more."""
_SETTLING = 10.0
"""Seconds after half of the time, which is how long brokers wait for an answer."""

_ORACLES: dict[str, Callable[[AnswersAt], Policy]] = {
    "oracle_of_two": oracle_of_two,
    "oracle_of_all": oracle_of_all,
}


@dataclass(frozen=True)
class Scenario:
    """What is simulated.

    The fastest agent hangs for the third sixth of the time: it stays online, answers nothing, and
    then goes on. The second fastest is offline for the fourth sixth.

    Attributes:
        has_mute: Whether one in the middle never answers, by design. What it gets is work like all
            other, but has no answer time.
    """

    name: str
    spread: Spread
    agents: int = 100
    seconds: float = 600.0
    has_mute: bool = False

    @property
    def hung(self) -> Outage:
        return Outage(self.seconds * 2 / 6, self.seconds * 3 / 6)

    @property
    def offline(self) -> Outage:
        return Outage(self.seconds * 3 / 6, self.seconds * 4 / 6)

    def crowd(self) -> list[Worker]:
        workers = crowd(self.agents, self.spread)
        workers[0].outage, workers[1].outage = self.hung, self.offline
        workers[self.agents // 2].is_mute = self.has_mute
        return workers


def simulate(scenario: Scenario, policy: str, brokers: int = 1, seed: int = 1) -> Simulated:
    """Route all messages of a scenario. The same seed brings the same messages to each policy."""
    return _Simulation(scenario, policy, brokers, seed).run()


class _Simulation:
    def __init__(self, scenario: Scenario, policy: str, brokers: int, seed: int) -> None:
        self._scenario = scenario
        self._name = policy
        self._seed = seed
        self._now = 0.0
        self._effort = 1.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        workers = scenario.crowd()
        self._rate = _LOAD * capacity(workers)
        self._workers = {worker.agent_id: worker for worker in workers}
        self._arrivals, self._places = Random(f"arrivals {seed}"), Random(f"places {seed}")
        oracle = _ORACLES.get(policy)
        self._brokers = [
            SimulatedBroker(
                policy if oracle is None else oracle(self._answers_at),
                self._workers,
                answer_timeout=scenario.seconds / 2,
                clock=lambda: self._now,
                random=Random(f"broker {number} {seed}").random,
                tell=self._tell,
            )
            for number in range(brokers)
        ]
        self._due_at = scenario.hung.begins_at + _DUE * workers[0].seconds
        offline = workers[1].agent_id
        for broker in self._brokers:
            self._at(scenario.offline.begins_at, partial(broker.disconnected, offline))
            self._at(scenario.offline.ends_at, partial(broker.registered, offline))

    def run(self) -> Simulated:
        names = list(self._workers)
        counts, hung, late = Counter[str](), Counter[str](), Counter[str]()
        times = []
        random = self._arrivals
        at = random.expovariate(self._rate)
        while at < self._scenario.seconds:
            self._pass_time(at)
            self._effort = random.lognormvariate(-(_EFFORT_SIGMA**2) / 2, _EFFORT_SIGMA)
            conversation = f"conversation-{random.randrange(_CONVERSATIONS)}"
            worker, seconds = self._message(str(counts.total()), conversation)
            counts[worker.agent_id] += 1
            if not worker.is_mute:
                times.append(seconds)
            if self._due_at <= at < self._scenario.hung.ends_at:
                hung[worker.agent_id] += 1
            if at >= self._scenario.seconds / 2 + _SETTLING:
                late[worker.agent_id] += 1
            at += random.expovariate(self._rate)
        times.sort()
        return Simulated(
            scenario=self._scenario.name,
            policy=self._name,
            brokers=len(self._brokers),
            seed=self._seed,
            messages=counts.total(),
            p50=times[len(times) // 2],
            p99=times[len(times) * 99 // 100],
            shares=[counts[name] / counts.total() for name in names],
            hung_share=hung[names[0]] / hung.total(),
            mute_share=late[names[len(names) // 2]] / late.total(),
        )

    def _message(self, message_id: str, conversation: str) -> tuple[Worker, float]:
        """Route a message, and return who has it and after how many seconds it is answered."""
        fields = {"conversation_id": msgspec.Raw(msgspec.json.encode(conversation))}
        broker = self._places.choice(self._brokers)
        agent_id = broker.route(ChatMessage("TEXT", fields, "client"), message_id)
        worker = self._workers[agent_id]
        worker.free_at = worker.answers_at(self._now, self._effort)
        reader = self._places.choice(self._brokers)
        if not worker.is_mute:
            self._at(worker.free_at, partial(reader.answered, agent_id, message_id))
        return worker, worker.free_at - self._now

    def _answers_at(self, agent: Agent) -> float:
        return self._workers[agent.agent_id].answers_at(self._now, self._effort)

    def _tell(self, teller: SimulatedBroker, seen: AnswersSeen) -> None:
        for broker in self._brokers:
            if broker is not teller:
                self._at(self._now + _NEWS_DELAY, partial(broker.heard, seen))

    def _at(self, at: float, event: Callable[[], None]) -> None:
        heappush(self._events, (at, next(self._numbers), event))

    def _pass_time(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self._now, _, event = heappop(self._events)
            event()
        self._now = until
