"""One document from a broker's HTTP endpoint."""

import http.client
import urllib.error
import urllib.request

import trio

from broker.net.causes import cause_in_words

FETCH_TIMEOUT = 5.0  # seconds until the whole answer must be there
_MOST_BYTES = 1 << 26  # a thousand agents, each with all the capabilities that it may have
# Whatever proxy the environment names: a broker's endpoint is next to its operator.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class FetchError(Exception):
    """There was no answer; the text says why, in a line."""


async def fetch(url: str | urllib.request.Request) -> tuple[int, bytes]:
    """Fetch a document, and return the HTTP status and the body.

    Raises:
        FetchError: No answer within `FETCH_TIMEOUT`, or none that is HTTP.
    """
    try:
        with trio.fail_after(FETCH_TIMEOUT):
            return await trio.to_thread.run_sync(_get, url, abandon_on_cancel=True)
    except (trio.TooSlowError, TimeoutError):
        raise FetchError(f"no answer within {FETCH_TIMEOUT:g} s") from None
    except urllib.error.URLError as error:
        reason = error.reason
        cause = cause_in_words(reason) if isinstance(reason, OSError) else str(reason)
        raise FetchError(cause) from error
    except OSError as error:
        raise FetchError(cause_in_words(error)) from error
    except (http.client.HTTPException, ValueError) as error:
        raise FetchError(f"the answer is not HTTP ({type(error).__name__})") from error


def _get(url: str | urllib.request.Request) -> tuple[int, bytes]:
    try:
        with _opener.open(url, timeout=FETCH_TIMEOUT) as answer:
            return answer.status, answer.read(_MOST_BYTES)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read(_MOST_BYTES)
