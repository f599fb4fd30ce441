"""Whether a peer can be reached: its name, TCP and TLS, before anything is said."""

import socket
import ssl
from dataclasses import dataclass

import trio

from broker.cli.checks.item import Item, failed, held
from broker.cli.output import address
from broker.net.causes import cause_in_words
from broker.net.tls import TlsFiles, explain, server_name, speaks_no_tls
from broker.net.unusable_file import UnusableFileError

REACH_TIMEOUT = 7.0
"""Seconds for name resolution, TCP and TLS together."""
_TLS_TRIAL_TIMEOUT = 3.0


@dataclass(frozen=True, slots=True)
class Target:
    """A peer, and the settings that say where it is.

    Attributes:
        tls: The files to verify it with, None for a connection in the clear.
        settings: The settings with host and port.
        url_setting: The setting whose scheme chooses TLS.
        schemes: That scheme without TLS, and with it.
        ca_setting: The setting with the CA certificates.
    """

    subject: str
    host: str
    port: int
    settings: str
    url_setting: str
    schemes: tuple[str, str]
    ca_setting: str
    certificate_setting: str | None = None
    tls: TlsFiles | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return address(self.host, self.port)


async def reach(target: Target) -> list[Item]:
    """Connect, shake hands if it is to be encrypted, and hang up.

    Returns an item for the connection, and one for TLS when it came so far. When the last one is
    as it must be, the peer can be talked to.
    """
    deadline = trio.current_time() + REACH_TIMEOUT
    stream = await _connect(target, deadline)
    if isinstance(stream, Item):
        return [stream]
    connected = held(target.subject, "connection", f"{target.address} answers")
    if target.tls is None:
        await trio.aclose_forcefully(stream)
        return [connected]
    return [connected, await _shake_hands(target, stream, target.tls, deadline)]


async def speaks_tls(target: Target) -> bool:
    """Return whether a peer that was to be talked to in the clear speaks TLS, whoever it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent to it
    with trio.move_on_after(_TLS_TRIAL_TIMEOUT):
        try:
            stream = await trio.open_tcp_stream(target.host, target.port)
            await _handshake(target, stream, context)
        except trio.BrokenResourceError as broken:
            # One that wants a client certificate, for example, speaks TLS, too.
            error = broken.__cause__
            return isinstance(error, ssl.SSLError) and not speaks_no_tls(error)
        except OSError:
            return False
        return True
    return False


async def refusal_after_tls(target: Target) -> Item | None:
    """Return the item for a peer that refuses an encrypted connection once it stands, if it does.

    With TLS 1.3 a server looks at a client's certificate, or at its lack, only then.
    """
    if target.tls is None:
        return None
    with trio.move_on_after(_TLS_TRIAL_TIMEOUT):
        try:
            context = await _context(target.tls)
            stream = await trio.open_tcp_stream(target.host, target.port)
            await _handshake(target, stream, context, wait_for_alert=True)
        except trio.BrokenResourceError as broken:
            error = broken.__cause__
            if isinstance(error, ssl.SSLError) and error.reason:
                return failed(target.subject, "TLS", *_explained(target, error))
        except (OSError, UnusableFileError):
            pass  # it was there a moment ago; that item tells enough
    return None


def tls_wanted(target: Target) -> Item:
    """Return the item for a peer that speaks TLS and was to be talked to in the clear."""
    return failed(
        target.subject,
        "TLS",
        f"{target.address} speaks TLS, and the connection is not configured for it",
        f"{target.url_setting} must begin with {target.schemes[1]}",
    )


async def _connect(target: Target, deadline: float) -> trio.SocketStream | Item:
    def unreachable(found: str, advice: str) -> Item:
        return failed(target.subject, "connection", found, advice)

    try:
        with trio.fail_at(deadline):
            return await trio.open_tcp_stream(target.host, target.port)
    except socket.gaierror as error:
        return unreachable(
            f"the name {target.host} cannot be resolved ({cause_in_words(error)})",
            f"correct {target.settings}, or the name service",
        )
    except trio.TooSlowError:
        return unreachable(
            f"no answer from {target.address} within {REACH_TIMEOUT:g} s",
            f"check the network and its firewalls, or correct {target.settings}",
        )
    except OSError as error:
        return unreachable(
            f"{target.address} cannot be reached ({cause_in_words(error)})",
            f"start it there, or correct {target.settings}",
        )


async def _shake_hands(
    target: Target, stream: trio.SocketStream, tls: TlsFiles, deadline: float
) -> Item:
    def refused(found: str, advice: str) -> Item:
        return failed(target.subject, "TLS", found, advice)

    no_tls = f"{target.url_setting} must name the port with TLS, or begin with {target.schemes[0]}"
    try:
        with trio.fail_at(deadline):
            await _handshake(target, stream, await _context(tls))
    except UnusableFileError as error:
        return refused(str(error), "correct the file")
    except trio.TooSlowError:
        return refused("no answer to TLS in time", no_tls)
    except trio.BrokenResourceError as broken:
        cause = broken.__cause__
        if isinstance(cause, ssl.SSLError) and cause.reason and not speaks_no_tls(cause):
            return refused(*_explained(target, cause))
        return refused(f"{target.address} does not use TLS", no_tls)
    finally:
        await trio.aclose_forcefully(stream)
    return held(target.subject, "TLS", f"the certificate is valid for {target.host}")


def _explained(target: Target, error: ssl.SSLError) -> tuple[str, str]:
    return explain(error, target.ca_setting, target.certificate_setting)


async def _context(tls: TlsFiles) -> ssl.SSLContext:
    return await trio.to_thread.run_sync(tls.context, abandon_on_cancel=True)


async def _handshake(
    target: Target,
    stream: trio.SocketStream,
    context: ssl.SSLContext,
    *,
    wait_for_alert: bool = False,
) -> None:
    tls = trio.SSLStream(
        stream, context, server_hostname=server_name(target.host), https_compatible=True
    )
    try:
        await tls.do_handshake()
        if wait_for_alert:
            await tls.receive_some()
    finally:
        await trio.aclose_forcefully(tls)
