"""Rules from an OPA server, by its Data API (https://www.openpolicyagent.org/docs/rest-api#data-api)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optimizer.cluster import Cluster
from optimizer.snapshot import as_json
from policy_sources.base import PolicyError, PolicyUnavailable, RuleSet
from policy_sources.http import Answer, HttpSettings, JsonService, reason
from policy_sources.rego import RULES, check_path, rules_in

# OPA says 500 of a policy that fails, which another attempt does not mend.
_TOLD = frozenset({400, 401, 403, 404, 500})


@dataclass(frozen=True, slots=True)
class OpaSource:
    """A rule of the policies in an OPA server; ``token_file`` holds the bearer token, and is read anew for each request."""

    url: str
    path: str = RULES
    settings: HttpSettings = field(default_factory=HttpSettings)
    token_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a path, and two proofs of who we are."""
        check_path(self.name, self.path)
        if self.token_file is not None and "@" in self.url:
            raise PolicyError(self.name, ["the address names a user and there is a token file; need one of them"])

    @property
    def name(self) -> str:
        """The name in plans and messages."""
        return f"opa:{self.path}"

    def read(self, cluster: Cluster) -> RuleSet:
        """The rules that OPA derives; raises PolicyUnavailable where OPA cannot be had, PolicyError for what it says and for what it does not define.

        The revision is that of OPA's bundle; of several ``NAME=REVISION`` each; empty where policies were not loaded as bundles.
        """
        service = JsonService(self.name, self.url, self.settings, self._headers)
        answer = service.ask("POST", f"/v1/data/{self.path}", b'{"input":' + as_json(cluster) + b"}", {"provenance": "true"}, _TOLD)
        read_at = datetime.now(UTC).isoformat(timespec="seconds")
        where = f"POST {service.url}/v1/data/{self.path}"
        if answer.status != 200:
            self._refuse(answer, where)
        if not isinstance(answer.body, dict):
            raise PolicyError(self.name, [f"{where}: the answer is no object with a result; is {service.url} the address of an OPA?"])
        if "result" not in answer.body:
            raise PolicyError(self.name, [f"{self.path} is undefined in the OPA at {service.url}; {_there(service)}"])
        revision = _revision(answer.body.get("provenance"))
        return RuleSet(self.name, rules_in(self.name, answer.body["result"], revision), read_at, revision)

    def _headers(self) -> Mapping[str, str]:
        if self.token_file is None:
            return {}
        try:
            token = self.token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8"
            raise PolicyError(self.name, [f"token file {self.token_file} cannot be read: {why}"]) from None
        if not token or not token.isascii() or not token.isprintable():
            raise PolicyError(self.name, [f"token file {self.token_file} holds no token: need one line of ASCII"])
        return {"Authorization": f"Bearer {token}"}

    def _refuse(self, answer: Answer, where: str) -> None:
        """Raise what a status other than 200 means."""
        said = f"{where} answers {answer.status}: {reason(answer.body)}"
        if answer.status in (401, 403):
            hint = "no token file is set" if self.token_file is None else f"the token is that of {self.token_file}"
            raise PolicyError(self.name, [f"{said} ({hint})"])
        if answer.status == 404:
            raise PolicyError(self.name, [f"{said} (is this the address of an OPA?)"])
        if answer.status == 500 and not (isinstance(answer.body, dict) and "code" in answer.body):
            raise PolicyUnavailable(self.name, [said])
        raise PolicyError(self.name, [f"{said}{''.join(_errors(answer.body))}"])


def _errors(body: Any) -> list[str]:
    """What OPA says of each error in a policy, with its place."""
    errors = body.get("errors") if isinstance(body, dict) else None
    found = []
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, dict):
            place = error.get("location")
            at = f"{place.get('file')}:{place.get('row')}: " if isinstance(place, dict) else ""
            found.append(f"; {at}{error.get('message')}")
    return found


def _revision(provenance: Any) -> str:
    """Of the bundles that OPA names; OPA before 0.13 names one without bundles."""
    if not isinstance(provenance, dict):
        return ""
    bundles = provenance.get("bundles")
    if not isinstance(bundles, dict):
        return str(provenance.get("revision", ""))
    revisions = {name: str(said.get("revision", "")) for name, said in sorted(bundles.items()) if isinstance(said, dict)}
    return next(iter(revisions.values())) if len(revisions) == 1 else ", ".join(f"{name}={revision}" for name, revision in revisions.items())


def _there(service: JsonService) -> str:
    """The packages OPA has; where it does not let them be listed, that."""
    try:
        answer = service.ask("GET", "/v1/policies")
    except PolicyError as error:
        return f"what it has cannot be listed ({error})"
    listed = answer.body.get("result") if isinstance(answer.body, dict) else None
    packages = {_package(policy) for policy in listed} if isinstance(listed, list) else set()
    return f"it has the packages {', '.join(sorted(packages - {''}))}" if packages - {""} else "it has no policy"


def _package(policy: Any) -> str:
    """The package of a policy as OPA lists it: ``placewright``; empty where it cannot be told."""
    try:
        return "/".join(str(step["value"]) for step in policy["ast"]["package"]["path"][1:])
    except (KeyError, TypeError, IndexError):
        return ""
