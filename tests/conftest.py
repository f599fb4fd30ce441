import signal
from collections.abc import Iterator
from uuid import uuid4

import hypothesis
import pytest
import trio
from anyio.from_thread import start_blocking_portal

from broker.sandbox.dispositions import use_default_dispositions_in_children
from tests.lab.measured import measure_no_children
from tests.lab.rabbitmq_cluster import RabbitmqCluster, open_rabbitmq_cluster
from tests.lab.rabbitmq_node import RabbitmqNode, open_rabbitmq_node

# How long an example takes is no property of the code on a machine with other work to do.
hypothesis.settings.register_profile("thorough", deadline=None)
# Examples differ from run to run, so few of them each time are many in the end.
hypothesis.settings.register_profile("brief", deadline=None, max_examples=25)
hypothesis.settings.load_profile("brief")


SPECIAL = ("cluster", "managed", "external")
"""Nodes that only exhaustive tests need, and only one worker starts, as each costs seconds."""
NODES = {*SPECIAL, "rabbitmq"}


def pytest_configure(config: pytest.Config) -> None:
    """Measure workers, and what they fork; who starts the workers has to pass it on to them."""
    if hasattr(config, "workerinput"):
        measure_no_children()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a node, and keep a file with one worker unless it says otherwise."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if NODES.intersection(fixtures) and "browser" not in fixtures:
            item.add_marker(pytest.mark.rabbitmq)
        group = next((node for node in SPECIAL if node in fixtures), None)
        if group is not None:
            item.add_marker(pytest.mark.exhaustive)
            item.add_marker(pytest.mark.rabbitmq_version)
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(group or item.nodeid.partition("::")[0]))


@pytest.fixture(scope="session", autouse=True)
def default_dispositions() -> None:
    """Let the processes that tests start be interrupted, however the suite was started."""
    use_default_dispositions_in_children()


@pytest.fixture
def hangups_arrive() -> Iterator[None]:
    """Let SIGHUP do what it does by default, also where whoever runs the tests ignores it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitmqNode]:
    """One node for all tests of a worker; what a test changes, stops or freezes, it puts right.

    It lives in a Trio loop in a thread, because a loop of pytest-trio ends with each test.
    """
    with (
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(open_rabbitmq_node(is_thrifty=True)) as node,
    ):
        yield node


@pytest.fixture(scope="session")
def cluster() -> Iterator[RabbitmqCluster]:
    """One cluster for all tests, as each leaves it whole."""
    with (
        start_blocking_portal("trio") as portal,
        portal.wrap_async_context_manager(open_rabbitmq_cluster()) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def user(rabbitmq: RabbitmqNode) -> Iterator[str]:
    """A user of a module's tests without any right, whose password is its name."""
    name = f"user-{uuid4().hex[:8]}"
    trio.run(rabbitmq.ctl, "add_user", name, name)
    yield name
    trio.run(rabbitmq.ctl, "delete_user", name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests have measured, which they assert with wide margins only."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                terminalreporter.write_line(f"measured: {name}: {value}")
