"""`broker sandbox`: the whole system on this machine, with every message accounted for."""

import secrets
import socket
from functools import partial
from pathlib import Path
from shutil import copyfile
from tempfile import mkdtemp

import trio
from rich.console import Console

from broker.amqp import SessionLostError, open_rabbit
from broker.concurrency.error_groups import first_error
from broker.concurrency.signals import Interruption, run_interruptible
from broker.sandbox.broker_process import BrokerProcessError
from broker.sandbox.free_ports import HOST
from broker.sandbox.live import can_draw
from broker.sandbox.plan import KILL_MESSAGES, Plan
from broker.sandbox.rabbitmq import open_rabbitmq_node
from broker.sandbox.rabbitmq_errors import RabbitmqNodeError
from broker.sandbox.stages import Stages
from broker.sandbox.summary import balance, problems, summary
from broker.sandbox.system import Result, run_system
from broker.telemetry.logs import configure_logging
from broker.telemetry.one_line import complain

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130

DEFAULT_MESSAGES = 100
"""How many messages are exchanged when nobody watches."""
_LOG_LINES_SHOWN = 20


def run(
    *,
    agents: int,
    messages: int | None,
    seed: int | None,
    malformed: float,
    policy: str = "random",
    slow_agents: int = 0,
    hold: float = 0.0,
    kill: bool = False,
    http_port: int | None = None,
) -> int:
    """Run a private RabbitMQ node, a stand-in central server, agents and the broker.

    On a terminal and without a number of messages it shows a live view until Ctrl-C or `q`; else
    it exchanges that many messages (100 by default, or more if it is to kill). In the end it prints
    a summary, and nothing that it started is left.

    Returns:
        The exit code: 0 when every message is accounted for and the broker stopped gracefully, 2
        when the port is in use, 130 when interrupted before there was a message, or twice; else 1.
    """
    if http_port is not None and _is_in_use(http_port):
        return complain(f"--http-port must be a free port, {http_port} is in use")
    console = _Console(highlight=False, soft_wrap=True)
    configure_logging("error", "console")
    if messages is None and kill:
        messages = KILL_MESSAGES
    elif messages is None and not console.is_terminal:
        messages = DEFAULT_MESSAGES
    plan = Plan(
        agents=agents,
        messages=messages,
        seed=secrets.randbelow(1_000_000) if seed is None else seed,
        malformed=malformed,
        policy=policy,
        slow_agents=slow_agents,
        hold=hold,
        kill=kill,
        http_port=http_port,
    )
    return trio.run(run_interruptible, partial(_run, plan, console), EXIT_INTERRUPTED)


def _is_in_use(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return True
    return False


class _Console(Console):
    """Goes quiet when nobody listens any more; rich's own would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


async def _run(plan: Plan, console: Console, interruption: Interruption) -> int:
    console.print("Starting RabbitMQ, a central server, agents and the broker ...")
    stages = Stages(console)
    code = EXIT_FAILED
    try:
        async with open_rabbit() as rabbit, open_rabbitmq_node() as node:
            stages.done("RabbitMQ", node.url)
            result = await run_system(
                plan,
                node=node,
                rabbit=rabbit,
                console=console,
                stages=stages,
                interruption=interruption,
            )
            code = _report(result, plan, console)
    except* (RabbitmqNodeError, SessionLostError, BrokerProcessError) as errors:
        console.print(str(first_error(errors)), style="red", markup=False)
    return code


def _report(result: Result, plan: Plan, console: Console) -> int:
    if can_draw(console):  # else they have been printed
        for event in result.ledger.feed.events:
            console.print(f"{event.at:6.1f} s  {event.text}", markup=False)
    for line in summary(result.ledger, result.agents):
        console.print(line)
    console.print(f"seed          {plan.seed:8}")
    console.print(balance(result.ledger))
    found = [*result.problems, *problems(result.ledger)]
    if not found:
        console.print("Every message is accounted for.", style="green")
        return EXIT_OK
    for problem in found:
        console.print(problem, style="red", markup=False)
    # Out of the directory that is about to be removed.
    kept = copyfile(result.broker_log, Path(mkdtemp(prefix="broker-sandbox-")) / "broker.log")
    console.print(f"The broker's log is {kept}. Its end:")
    lines = kept.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines[-_LOG_LINES_SHOWN:]:
        console.print(line, markup=False)
    return EXIT_FAILED
