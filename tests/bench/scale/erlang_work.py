"""What the processes inside a RabbitMQ node do, in reductions, by what they are for.

Linux tells what a node costs, and Erlang how that divides: it counts the function calls of each
process. So "one queue is one process, and one process is one core" gets a number.
"""

from collections import Counter

from tests.lab.rabbitmq_node import RabbitmqNode

# One line a process: its reductions, what it is, and its queue if it is one.
_LIST_PROCESSES = """
[case erlang:process_info(Pid, [registered_name, reductions, dictionary]) of
   [{registered_name, Registered}, {reductions, Count}, {dictionary, Dictionary}] ->
     Kind = case lists:keyfind('$initial_call', 1, Dictionary) of
       {_, {Module, _, _}} -> Module; _ -> unknown end,
     Queue = case lists:keyfind(process_name, 1, Dictionary) of
       {_, {_, {resource, _, queue, Name}}} -> Name; _ -> <<"-">> end,
     Known = case Registered of [] -> Kind; _ -> Registered end,
     io:format("~b ~ts ~ts~n", [Count, Known, Queue]);
   _ -> gone
 end || Pid <- erlang:processes()], ok.
"""
_CONNECTION = frozenset({"rabbit_reader", "rabbit_channel", "rabbit_writer", "rabbit_limiter"})
_LOG = frozenset({"ra_log_wal", "ra_log_segment_writer"})
CONNECTION = "connections"
LOG = "log of quorum queues"
REST = "rest"


async def processes_of(node: RabbitmqNode) -> str:
    """Return the processes of a node, as `work_between` takes them."""
    return await node.ctl("eval", _LIST_PROCESSES)


def work_between(before: str, after: str, queues: tuple[str, ...]) -> dict[str, int]:
    """Return what was done between two looks at a node.

    Args:
        queues: Each gets an entry of its own, if it did something there.
    """
    counted = _by_purpose(after, queues)
    counted.subtract(_by_purpose(before, queues))
    return {purpose: count for purpose, count in counted.items() if count > 0}


def _by_purpose(processes: str, queues: tuple[str, ...]) -> Counter[str]:
    counted = Counter[str]()
    for line in processes.splitlines():
        match line.split(maxsplit=2):
            case [count, *names] if names and count.isdigit():
                counted[_purpose(names, queues)] += int(count)
    return counted


def _purpose(names: list[str], queues: tuple[str, ...]) -> str:
    for queue in queues:
        # A member of a quorum queue is registered as the virtual host, "_" and the queue's name.
        if queue in names or any(name.endswith(f"_{queue}") for name in names):
            return queue
    if not _CONNECTION.isdisjoint(names):
        return CONNECTION
    return LOG if not _LOG.isdisjoint(names) else REST
