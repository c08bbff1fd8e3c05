"""The one error of the embedded server."""


class EmbeddedServerError(Exception):
    """The embedded server cannot be used. The message names the place and the mend."""
