"""The root of the errors whose message is meant for the operator."""


class PlacewrightError(Exception):
    """Something the operator can understand and mend; the message names the thing, the value and what would be right."""
