"""What commands of rabbitmqctl do, as Erlang that a node evaluates.

erl_call has an answer in milliseconds; rabbitmqctl starts a virtual machine first, for a second.
"""

import shutil
from base64 import b64decode
from collections.abc import Sequence

_TABLE = r"""
    Cell = fun
        ({resource, _, _, Name}) -> Name;
        (Value) when is_binary(Value) -> Value;
        (Value) when is_atom(Value) -> atom_to_binary(Value);
        (Value) -> io_lib:format("~w", [Value])
    end,
    "base64:" ++ base64:encode_to_string(iolist_to_binary([
        [lists:join("\t", [Cell(Value) || {_, Value} <- Row]), "\n"] || Row <- %s
    ]))."""
"""Prints a line for each row, its columns with tabs between them, and no headings."""
_DELETE_QUEUE = """
    {ok, Queue} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, %s)),
    {ok, _} = rabbit_amqqueue:delete(Queue, false, false, <<"tests">>)."""
_CLOSE = """
    Close = fun (Connection) ->
        try rabbit_networking:close_connection(Connection, "%s") catch exit:_ -> gone end
    end,
    Every = rabbit_networking:connection_info_all([pid, user]),
    lists:foreach(Close, [Connection || [{pid, Connection}, {user, %s}] <- Every])."""
"""Goes on at one that has ended by itself in the meantime, where rabbitmqctl would fail."""
_BASE64 = '"base64:'


def find_erl_call(search_path: str) -> str | None:
    return shutil.which("erl_call", path=search_path)


def as_erlang(*command: str) -> str | None:
    """Return the expression for a command, if there is one here."""
    expression = None
    match command:
        case ("eval", given):
            expression = given
        case (
            "add_user" | "change_password" | "delete_user" | "set_user_limits" as name,
            *arguments,
        ):
            expression = _called("rabbit_auth_backend_internal", name, *arguments)
        case ("set_permissions" | "clear_permissions" as name, *options):
            vhost, (user, *patterns) = (
                (options[1], options[2:]) if options[0] == "-p" else ("/", options)
            )
            expression = _called("rabbit_auth_backend_internal", name, user, vhost, *patterns)
        case ("add_vhost" | "delete_vhost" as name, vhost):
            expression = _called("rabbit_vhost", name.removesuffix("_vhost"), vhost)
        case ("delete_queue", queue):
            expression = _DELETE_QUEUE % _binary(queue)
        case ("list_queues", *columns):
            expression = _listed("rabbit_amqqueue", columns)
        case ("list_exchanges", *columns):
            expression = _listed("rabbit_exchange", columns)
        case ("list_user_permissions" as name, user):
            expression = _TABLE % f"rabbit_auth_backend_internal:{name}({_binary(user)})"
        case ("close_all_connections", explanation):
            expression = _CLOSE % (explanation, "_")
        case ("close_all_user_connections", user, explanation):
            expression = _CLOSE % (explanation, _binary(user))
        case ("set_vm_memory_high_watermark" as name, share):
            expression = f"vm_memory_monitor:{name}({float(share):f})."
    return expression


def unquoted(printed: str) -> str:
    """Return a value as rabbitmqctl would print it, from how erl_call does."""
    if printed.startswith(_BASE64):
        return b64decode(printed[len(_BASE64) : -1]).decode()
    return printed


def _called(module: str, function: str, *arguments: str) -> str:
    values = (*arguments, "tests")  # the last one says who does it
    return f"{module}:{function}({', '.join(map(_binary, values))})."


def _listed(module: str, columns: Sequence[str]) -> str:
    return _TABLE % f'{module}:info_all(<<"/">>, [{", ".join(columns)}])'


def _binary(text: str) -> str:
    return f"<<{','.join(map(str, text.encode()))}>>"
