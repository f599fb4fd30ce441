"""What commands of rabbitmqctl do, as Erlang that a node evaluates.

erl_call has an answer in milliseconds; rabbitmqctl starts a virtual machine first, for a second.
"""

import shutil
from base64 import b64decode

_LIST_QUEUES = r"""
    Cell = fun
        ({resource, _, _, Name}) -> Name;
        (Value) when is_atom(Value) -> atom_to_binary(Value);
        (Value) -> io_lib:format("~w", [Value])
    end,
    "base64:" ++ base64:encode_to_string(iolist_to_binary([
        [lists:join("\t", [Cell(Value) || {_, Value} <- Queue]), "\n"]
        || Queue <- rabbit_amqqueue:info_all(<<"/">>, [%s])
    ]))."""
"""Prints a line with its columns, which tabs separate, for each queue of the virtual host `/`."""
_BASE64 = '"base64:'


def find_erl_call(search_path: str) -> str | None:
    return shutil.which("erl_call", path=search_path)


def as_erlang(*command: str) -> str | None:
    """Return the expression for a command, if there is one here."""
    expression = None
    match command:
        case ("eval", given):
            expression = given
        case ("add_user" | "change_password" | "delete_user" as name, *arguments):
            expression = _called("rabbit_auth_backend_internal", name, *arguments)
        case ("set_permissions" | "clear_permissions" as name, *options):
            vhost, (user, *patterns) = (
                (options[1], options[2:]) if options[0] == "-p" else ("/", options)
            )
            expression = _called("rabbit_auth_backend_internal", name, user, vhost, *patterns)
        case ("add_vhost", vhost):
            expression = _called("rabbit_vhost", "add", vhost)
        case ("list_queues", *columns):
            expression = _LIST_QUEUES % ", ".join(columns)
        case ("close_all_connections", explanation):
            every = "rabbit_networking:connections()"
            expression = f'rabbit_networking:close_connections({every}, "{explanation}").'
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
    binaries = (f"<<{','.join(map(str, value.encode()))}>>" for value in values)
    return f"{module}:{function}({', '.join(binaries)})."
