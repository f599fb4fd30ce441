"""A private Prometheus that scrapes brokers every second."""

import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import trio
import yaml

from broker.sandbox.kept_process import CLOSE_TIMEOUT, KeptProcess, start_kept
from tests.deploy.repository import ROOT
from tests.integration.http_client import get
from tests.lab.eventually import eventually
from tests.sandbox.programs import free_port

PROMETHEUS = shutil.which("prometheus")


class Series(NamedTuple):
    """The finite values that a query has for one set of labels, in order of time."""

    labels: Mapping[str, str]
    values: Sequence[float]


class Prometheus:
    """Made by `open_prometheus`."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def ask(self, path: str, **parameters: str) -> Any:
        """Return the data that the HTTP API has, with these parameters."""
        status, text = await get(self._port, f"/api/v1/{path}?{urlencode(parameters)}")
        answer = json.loads(text)
        assert (status, answer["status"]) == (200, "success"), text
        return answer["data"]

    async def value(self, expression: str) -> float | None:
        """Return the only value that an expression has now; None without any."""
        found = (await self.ask("query", query=expression))["result"]
        return float(found[0]["value"][1]) if len(found) == 1 else None

    async def until(self, expression: str) -> None:
        """Wait until a comparison holds for at least one set of labels."""

        async def holds() -> bool:
            return bool((await self.ask("query", query=expression))["result"])

        await eventually(holds, expression, within=120)

    async def history(self, expression: str, start: float, end: float) -> list[Series]:
        """Return what an expression was at each second of a time; seconds since 1970."""
        found = await self.ask(
            "query_range", query=expression, start=str(start), end=str(end), step="1"
        )
        return [
            Series(one["metric"], values)
            for one in found["result"]
            if (values := [float(text) for _, text in one["values"] if isfinite(float(text))])
        ]


@asynccontextmanager
async def open_prometheus(directory: Path, brokers: Sequence[int]) -> AsyncIterator[Prometheus]:
    """Run Prometheus, with the broker's rules, for the length of the context.

    Args:
        brokers: The ports on which brokers serve their metrics.
    """
    assert PROMETHEUS is not None
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "deploy/prometheus/alerts.yaml")],
        "scrape_configs": [
            {
                "job_name": "agent-broker",
                "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in brokers]}],
            }
        ],
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    port = free_port()
    process = await start_kept(
        (
            PROMETHEUS,
            f"--config.file={directory / 'prometheus.yaml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ),
        KeptProcess,
        directory=directory,
        environment=os.environ,
        log=directory / "prometheus.log",
    )
    assert process is not None
    try:
        await _answers(port)
        yield Prometheus(port)
    finally:
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await process.end()


async def _answers(port: int) -> None:
    async def ready() -> bool:
        try:
            return (await get(port, "/-/ready"))[0] == 200
        except OSError:
            return False

    await eventually(ready, "Prometheus is ready", within=120)
