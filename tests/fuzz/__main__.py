"""`python -m tests.fuzz TARGET [option of libFuzzer]...`: fuzz one target by its coverage."""

import json.decoder
import json.scanner
import shlex
import sys

import atheris  # type: ignore[import-untyped]  # it lives in an environment of its own

with atheris.instrument_imports(include=["broker", "tests.fuzz", "pamqp"]):
    from tests.fuzz.targets import TARGETS

# msgspec is C and shows no coverage. The oracle, which is Python, leads through JSON's grammar.
for _function in (
    json.decoder.JSONArray,  # type: ignore[attr-defined]  # not in the stubs, as what follows
    json.decoder.JSONObject,  # type: ignore[attr-defined]
    json.scanner.py_make_scanner,  # type: ignore[attr-defined]
):
    atheris.instrument_func(_function)

_, _target, *_options = sys.argv
# libFuzzer starts itself again, by a shell, to merge.
_command = shlex.join([sys.executable, "-m", "tests.fuzz", _target])
atheris.Setup([_command, *_options], TARGETS[_target])
atheris.Fuzz()
