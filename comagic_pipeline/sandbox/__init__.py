"""A local Data API for the demo and the tests.

It is written from the vendor's rules in ``catalog/methods.json`` and ``catalog/protocol.json`` alone and shares no code
with the client, so that the two can disagree. A request passes these modules in turn:

``server`` (HTTP) → ``faults`` (what should go wrong) → ``envelope`` (JSON-RPC) → ``service`` (rights, points) →
``parameters``, ``filters`` (the question) → ``paging`` (the answer) over a ``world``, whose rows come from ``rows``.
"""
