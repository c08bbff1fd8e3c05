"""All kinds of facts. List a new one here."""

from comagic_pipeline.warehouse.star.kind import Kind
from comagic_pipeline.warehouse.star.kinds import (
    call_legs,
    calls,
    chats,
    goals,
    offline_messages,
    visitor_sessions,
)

KINDS: tuple[Kind, ...] = (
    calls.KIND,
    call_legs.KIND,
    chats.KIND,
    offline_messages.KIND,
    goals.KIND,
    visitor_sessions.KIND,
)
"""Every kind."""
