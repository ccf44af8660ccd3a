"""What can go wrong between this machine and a cloud; every message names what would be right."""

from optimizer.errors import PlacewrightError


class CloudError(PlacewrightError):
    """A cloud could not be read."""


class CloudConfigError(CloudError):
    """clouds.yaml or the OS_* variables do not describe a cloud."""


class AccessDenied(CloudError):
    """The cloud knows who asks, or does not, and refuses (HTTP 401, 403)."""


class Unreachable(CloudError):
    """Nothing answered at a service's address, or not in time."""


class ServiceMissing(CloudError):
    """The service catalog has no such service, or one that is too old."""


class UnexpectedAnswer(CloudError):
    """A service answered with something else than its API reference promises."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class InconsistentCloud(CloudError):
    """The cloud kept changing while it was read; reading it again will most likely do."""


class LoadError(CloudError):
    """The load of the servers cannot be read as asked."""


class LoadMissing(LoadError):
    """Servers have no measures and the operator asked for a failure in that case."""
