"""What was simulated and measured, as it is kept in results.json."""

from statistics import median

import msgspec


class Simulated(msgspec.Struct):
    """What came of a scenario with a policy.

    Attributes:
        p50, p99: Seconds from a message to its answer.
        shares: Of the messages, by agent, the fastest first.
        hung_share: Of the messages, once ten answers of the agent that hangs are due.
        mute_share: Of the messages, for the one that never answers, once that can be known.
    """

    scenario: str
    policy: str
    brokers: int
    seed: int
    messages: int
    p50: float
    p99: float
    shares: list[float]
    hung_share: float
    mute_share: float


class Cost(msgspec.Struct):
    """What choosing costs the broker.

    Attributes:
        microseconds: Of a decision, the filters and the guard around the policy included.
        capable_microseconds: The same with one capability required, which half of the agents have.
        full_update_milliseconds: Entering all agents.
        longest_slice_milliseconds: The longest time without a pause meanwhile.
        bytes_per_agent: That the policy keeps, beside the registry.
    """

    policy: str
    agents: int
    microseconds: float
    capable_microseconds: float
    full_update_milliseconds: float
    longest_slice_milliseconds: float
    bytes_per_agent: float | None


class PolicyResults(msgspec.Struct):
    """Everything that `--policies` found out."""

    machine: dict[str, str]
    runs: list[Simulated] = []
    costs: list[Cost] = []


def typical(runs: list[Simulated], scenario: str, policy: str, brokers: int) -> Simulated | None:
    """Return the medians over the seeds."""
    same = [
        run
        for run in runs
        if (run.scenario, run.policy, run.brokers) == (scenario, policy, brokers)
    ]
    if not same:
        return None
    return msgspec.structs.replace(
        same[0],
        **{
            name: median(getattr(run, name) for run in same)
            for name in ("p50", "p99", "hung_share", "mute_share")
        },
        shares=[median(shares) for shares in zip(*(run.shares for run in same), strict=True)],
    )
