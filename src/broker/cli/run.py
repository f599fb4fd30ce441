"""The default command, `broker run`: from settings to the service."""

from collections.abc import Mapping

from broker.cli.taking_settings import taking_settings
from broker.concurrency.deferred_signals import stop_signals_deferred
from broker.settings import SettingsError, load_settings
from broker.telemetry.one_line import complain


@taking_settings
def run(given: Mapping[str, str]) -> int:
    """Run the broker until SIGINT, SIGTERM or SIGHUP; the default command."""
    with stop_signals_deferred():
        try:
            settings = load_settings(given)
        except SettingsError as error:
            return complain(*error.problems)
        # It loads for 300 ms, which help and wrong usage do not wait for.
        from broker.cli.routing_policy import configured_policy  # noqa: PLC0415
        from broker.router.policies import PolicyNotFoundError  # noqa: PLC0415
        from broker.service import run as run_service  # noqa: PLC0415

        try:
            policy = configured_policy(settings.broker_routing_policy)
        except PolicyNotFoundError as error:
            return complain(f"BROKER_ROUTING_POLICY {error}")
        return run_service(settings, policy)
