"""What commands of rabbitmqctl do, as Erlang that a node evaluates.

erl_call has an answer in milliseconds; rabbitmqctl starts a virtual machine first, for a second.
"""

import shutil


def find_erl_call(search_path: str) -> str | None:
    return shutil.which("erl_call", path=search_path)


def as_erlang(*command: str) -> str | None:
    """Return the expression for a command, if there is one here."""
    match command:
        case ("eval", expression):
            return expression
        case ("add_user" | "change_password" | "delete_user" as name, *arguments):
            return _called("rabbit_auth_backend_internal", name, *arguments)
        case ("set_permissions" | "clear_permissions" as name, *options):
            vhost, (user, *patterns) = (
                (options[1], options[2:]) if options[0] == "-p" else ("/", options)
            )
            return _called("rabbit_auth_backend_internal", name, user, vhost, *patterns)
        case ("add_vhost", vhost):
            return _called("rabbit_vhost", "add", vhost)
        case ("set_vm_memory_high_watermark" as name, share):
            return f"vm_memory_monitor:{name}({float(share):f})."
    return None


def _called(module: str, function: str, *arguments: str) -> str:
    values = (*arguments, "tests")  # the last one says who does it
    binaries = (f"<<{','.join(map(str, value.encode()))}>>" for value in values)
    return f"{module}:{function}({', '.join(binaries)})."
