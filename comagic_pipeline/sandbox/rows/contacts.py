"""Lists of the address book: contacts, their groups and organisations."""

from comagic_pipeline.sandbox.rows import texts
from comagic_pipeline.sandbox.rows.cast import Cast, Named, Person
from comagic_pipeline.sandbox.specification import Row


def contacts(cast: Cast) -> list[Row]:
    """get.contacts: every fourth is known by name only."""
    rows = []
    for index, contact in enumerate(cast.contacts):
        is_bare = index % 4 == 3
        manager = None if is_bare else cast.employees[index % len(cast.employees)]
        organization = _organizations(cast)[index % 2] if index % 3 == 0 and not is_bare else None
        group = _group_of(cast, contact)
        rows.append(
            {
                "id": contact.id,
                **contact.name_columns,
                "emails": [] if is_bare else [f"contact{index}@example.test"],
                "phone_numbers": [] if is_bare else [f"7916{index:07}", f"7495{index:07}"][: 1 + index % 2],
                "personal_manager_id": manager.id if manager else None,
                "personal_manager_full_name": manager.full_name if manager else None,
                "organization_id": organization.id if organization else None,
                "organization_name": organization.name if organization else None,
                "groups": [{"group_id": group.id, "group_name": group.name}] if group else [],
            }
        )
    return rows


def group_contacts(cast: Cast) -> list[Row]:
    """get.group_contacts: the first is built in, the last is empty."""
    return [
        {
            "id": group.id,
            "name": group.name,
            "is_system": index == 0,
            "members": [
                {"contact_id": contact.id, "contact_full_name": contact.full_name}
                for contact in cast.contacts
                if (own := _group_of(cast, contact)) and own.id == group.id
            ],
        }
        for index, group in enumerate(_groups(cast))
    ]


def contact_organizations(cast: Cast) -> list[Row]:
    """get.contact_organizations."""
    return [{"id": organization.id, "name": organization.name} for organization in _organizations(cast)]


def _groups(cast: Cast) -> list[Named]:
    return [Named(cast.customer * 1_000_000 + 21 + index, name) for index, name in enumerate(texts.CONTACT_GROUPS)]


def _group_of(cast: Cast, contact: Person) -> Named | None:
    index = contact.id - cast.contacts[0].id
    return None if index % 4 == 3 else _groups(cast)[index % 2]


def _organizations(cast: Cast) -> list[Named]:
    return [Named(cast.customer * 1_000_000 + 15 + index, name) for index, name in enumerate(texts.ORGANIZATIONS)]
