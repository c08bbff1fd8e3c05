"""What people and rules put on a contact that is no call: tags, a deal, qualification. The words are those of calls."""

from comagic_pipeline.sandbox.rows.cast import USER_LOGIN, Cast
from comagic_pipeline.sandbox.rows.days import later
from comagic_pipeline.sandbox.rows.ids import luck, pick
from comagic_pipeline.sandbox.specification import Row

_TAG_COUNTS = (0, 0, 0, 1, 1, 2, 3)
_ATTRIBUTES = (("first", "primary", "target"), ("secondary", "rest"), ("secondary", "off-target"), ("through",), ())


def marks(cast: Cast, contact_id: int, moment: str) -> Row:
    """Return ``tags``, ``attributes``, ``sale_date`` and ``sale_cost`` of the contact that ended at a moment."""
    is_sold = luck(contact_id, 21) < 0.1
    return {
        "tags": [_tag(cast, contact_id + index, later(moment, 60 * index)) for index in range(_tags(contact_id))],
        "attributes": list(pick(_ATTRIBUTES, contact_id, 22)),
        "sale_date": later(moment, luck(contact_id, 23) * 86_400) if is_sold else None,
        "sale_cost": int(luck(contact_id, 24) * 30_000_000) / 100 if is_sold else None,
    }


def _tags(contact_id: int) -> int:
    return pick(_TAG_COUNTS, contact_id, 25)


def _tag(cast: Cast, number: int, moment: str) -> Row:
    tag = cast.tags[number % len(cast.tags)]
    author = pick(("rule", "user", "employee"), number, 26)
    employee = pick(cast.employees, number, 27) if author == "employee" else None
    return {
        "tag_id": tag.id,
        "tag_name": tag.name,
        "tag_type": "auto" if author == "rule" else "manual",
        "tag_change_time": moment,
        "tag_user_id": cast.user_id if author == "user" else None,
        "tag_user_login": USER_LOGIN if author == "user" else None,
        "tag_employee_id": employee.id if employee else None,
        "tag_employee_full_name": employee.full_name if employee else None,
    }
