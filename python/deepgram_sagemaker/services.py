"""What the sessions of one factory share: endpoints, credentials, events, sums.

Imports `aws` and `credentials`; never `driver`, which opens their legs. Tests:
`tests/test_fallbacks.py`, `tests/test_exposition.py` and `tests/test_otel.py`.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from . import events, notices
from .aws.client import Concurrency, LegClient
from .config import each_endpoint, names_of
from .credentials import CredentialSource
from .fallover import Endpoints
from .stats import Ledger, Shares, Stats, add_up, freed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import SageMakerConfig
    from .credentials import Identity
    from .meters import Measures, Watch

__all__ = ["Place", "Services"]

# All lines about sessions have one logger, whichever module writes them.
_logger = logging.getLogger("deepgram_sagemaker.transport")


class Place:
    """One endpoint, with what opens legs there.

    Attributes:
        client: Opens them.
        credentials: Has the keys that they are signed with.
        keys: The number of these keys: the same at endpoints that have them from one source.
    """

    def __init__(self, client: LegClient, credentials: CredentialSource, keys: int) -> None:
        self.client = client
        self.credentials = credentials
        self.keys = keys

    def waiting(self) -> int:
        """Return how many openings wait for one of `max_concurrency`, from any thread."""
        return self.client.waiting


class Services:
    """What all sessions of one factory and config share.

    Args:
        config: The settings.
        on_event: The application's function for events.
        telemetry: What measures the sessions, such as OpenTelemetry's providers; None: its global
            ones, if the application uses it; False: no traces and metrics.

    Attributes:
        places: The endpoints, in order of preference.
        endpoints: How they stand.
    """

    def __init__(
        self,
        config: SageMakerConfig,
        *,
        on_event: Callable[[events.Event], object] | None = None,
        telemetry: Measures | bool | None = None,
    ) -> None:
        concurrency = Concurrency(config.max_concurrency)
        # By the identity of the boto3 session: one look-up serves all that have their keys from it.
        sources: dict[int, tuple[CredentialSource, int]] = {}
        self.places: list[Place] = []
        self._configured = each_endpoint(config)
        for each in self._configured:
            source = id(each.boto3_session)
            if source not in sources:
                sources[source] = (CredentialSource(each), len(sources))
            self.places.append(Place(LegClient(each, concurrency), *sources[source]))
        self.endpoints = Endpoints(len(self.places))
        self.events = events.Channel(notices.log, on_event)
        # The names, and the regions in them.
        self._named: tuple[list[str], list[str]] = [], []
        # By the number of the keys.
        self._identities: dict[int, Identity] = {}
        self._ledger = Ledger(add_up, freed)
        self._telemetry = telemetry
        # Empty, or with the one that all take. Its own `setdefault` needs no lock, whose state a
        # forked child would not know.
        self._watch: dict[None, Watch] = {}

    @property
    def config(self) -> SageMakerConfig:
        """The settings, with the first endpoint; see `LegClient` for the region."""
        return self.places[0].client.config

    @property
    def configs(self) -> list[SageMakerConfig]:
        """The settings of each endpoint; see `LegClient` for the region."""
        return [place.client.config for place in self.places]

    @property
    def names(self) -> list[str]:
        """The name of each endpoint."""
        configs = self.configs
        regions = [each.region for each in configs]
        # Made again only if a region that had to be looked up has been found.
        if self._named[0] != regions:
            self._named = regions, names_of(configs)
        return self._named[1]

    @property
    def stats(self) -> Stats:
        """The sum over all sessions, those that have ended included; from any thread."""
        return self._ledger.total()

    @property
    def watch(self) -> Watch | None:
        """What follows the sessions for OpenTelemetry; None where the application has none of it.

        An application that uses it has imported its API. So nothing is imported for one that does
        not, whether or not the API is installed.
        """
        watch = self._watch.get(None)
        if watch is not None or self._telemetry is False:
            return watch
        used = "opentelemetry.trace" in sys.modules or "opentelemetry.metrics" in sys.modules
        if not used and self._telemetry is None:
            return None
        try:
            return self._watched()
        except Exception:
            # Telemetry must not cost a session: the API may be too old.
            self._telemetry = False
            _logger.exception("OpenTelemetry cannot be used: no traces and no metrics")
            return None

    def _watched(self) -> Watch:
        telemetry = self._telemetry
        if telemetry is None or isinstance(telemetry, bool):
            from .otel import Telemetry

            telemetry = Telemetry()
        made = telemetry.watch(
            [
                (each, place.waiting)
                for each, place in zip(self._configured, self.places, strict=True)
            ]
        )
        # Threads may make several at once, and all take the same. The others are let go.
        watch = self._watch.setdefault(None, made)
        self.events.add(watch.tell)
        return watch

    def begun(
        self, session: str, path: str, stats: Callable[[], Stats], shares: Callable[[], Shares]
    ) -> None:
        """Count a session in.

        Args:
            session: Its id.
            path: Its path.
            stats: Returns its figures, from any thread.
            shares: Returns them by endpoint, likewise.
        """
        self._ledger.begun(session, stats)
        watch = self.watch
        if watch is not None:
            watch.begun(session, path, shares)

    def ended(self, session: str, path: str) -> None:
        """Keep a session's figures, but not the session."""
        self._ledger.ended(session)
        watch = self._watch.get(None)
        if watch is not None:
            watch.ended(session, path)

    def is_news(self, keys: int, identity: Identity) -> bool:
        """Return whether a leg is the first to be signed with other keys than those before."""
        before = self._identities.get(keys)
        self._identities[keys] = identity
        return before is not None and before != identity
