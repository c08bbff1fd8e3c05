"""The key of the sandbox API. It is public: the demo needs no secret."""

SANDBOX_TOKEN = "sandbox-0000000000000000000000000000000000"  # noqa: S105 - opens nothing but a local sandbox
