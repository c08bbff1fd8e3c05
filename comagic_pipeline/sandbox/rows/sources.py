"""Lists of traffic sources, their groups and channels. Most are built in and the same for every account.

On these pages the docs show null for empty arrays and objects, against their own rule: so do the rows.
"""

from comagic_pipeline.sandbox.rows.cast import SOURCES, Cast
from comagic_pipeline.sandbox.specification import Row

_CHANNELS = list(dict.fromkeys((source.channel_name, source.channel_code) for source in SOURCES))
_GROUPS = list(dict.fromkeys((source.group, source.channel_name, source.channel_code) for source in SOURCES))
_FIRST_GROUP_ID = 200


def sources(_: Cast) -> list[Row]:
    """get.sources."""
    groups = [name for name, *_ in _GROUPS]
    return [
        {
            "id": source.id,
            "name": source.name,
            "description": "район у метро" if index == 5 else None,
            "group_id": _FIRST_GROUP_ID + groups.index(source.group),
            "group_name": source.group,
            "channel_id": _channel_id(source.channel_code),
            "channel_name": source.channel_name,
            "channel_mnemonic": source.channel_code,
            "filter": {"utm_source": source.utm_source} if index == 5 else None,
            "priority": index,
            "is_custom": index == 5,
            "state": "off" if index == 7 else "active",
            "icon_mnemonic": source.engine.replace(".", "_") if source.engine else None,
            "static_parameters": [{"parameter": "utm_medium", "value": source.utm_medium}] if index == 5 else None,
        }
        for index, source in enumerate(SOURCES)
    ]


def sources_groups(_: Cast) -> list[Row]:
    """get.sources_groups: names of groups are those of ``source_new`` in the reports."""
    return [
        {
            "id": _FIRST_GROUP_ID + index,
            "name": name,
            "channel_id": _channel_id(channel_code),
            "channel_name": channel_name,
            "channel_mnemonic": channel_code,
            "is_custom": index == 5,
            "state": "active",
        }
        for index, (name, channel_name, channel_code) in enumerate(_GROUPS)
    ]


def sources_channels(_: Cast) -> list[Row]:
    """get.sources_channels: built-in channels have negative ids."""
    return [
        {
            "id": _channel_id(code),
            "name": name,
            "mnemonic": code,
            "is_custom": False,
            "state": "active",
            "default_source_id": next(source.id for source in SOURCES if source.channel_code == code),
        }
        for name, code in _CHANNELS
    ]


def _channel_id(code: str) -> int:
    return -1 - [channel_code for _, channel_code in _CHANNELS].index(code)
