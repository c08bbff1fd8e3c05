"""The advice for an error: what a person should do. The journal, the UI and alerts show it beside the message.

Advice is found by the API's name of the error, else by its class. To advise on a new error, add it to one of the two
tables.
"""

from collections.abc import Mapping
from datetime import tzinfo

from sqlalchemy.exc import SQLAlchemyError

from comagic_pipeline.api.errors import (
    ComagicError,
    DayPointsSpentError,
    HistoryLimitError,
    IncompleteAnswerError,
    MethodUnavailableError,
    PermanentError,
    RequestRefusedError,
    SessionEndedError,
)
from comagic_pipeline.config import ConfigError
from comagic_pipeline.warehouse.copying import RowsRefusedError
from comagic_pipeline.warehouse.engine import WarehouseError
from comagic_pipeline.warehouse.errors import DiskFullError
from comagic_pipeline.warehouse.reports.tables import StructureChangedError
from comagic_pipeline.warehouse.retention.days import MonthsLeftError

_AGAIN = "then load the days again"
BY_ITSELF = "Nothing at first: it is tried again by itself while `up` runs."
"""The next step where another run tries again."""
_BY_MNEMONIC: Mapping[str, str] = {
    "access_token_blocked": f"Unblock the key in the account, or make a new one and set it; {_AGAIN}.",
    "access_token_invalid": f"Check the key and base_url in the configuration; {_AGAIN}.",
    "access_token_expired": f"Make a new key in the account and set it; {_AGAIN}.",
    "auth_error": f"Correct login and password; {_AGAIN}.",
    "ip_not_whitelisted": f"Add the address of this machine to the API settings of the account; {_AGAIN}.",
    "account_inactive": f"Ask the vendor's support to enable the account; {_AGAIN}.",
    "forbidden": "Give the user of the key the right to this method, or leave the table out.",
    "method_component_disabled": "Connect the component in the account, or leave the table out.",
    "parameter_component_disabled": "Connect the component in the account, or leave the table out.",
    "method_not_found": "Leave the table out: tables in the configuration.",
}
_BY_CLASS: Mapping[type[BaseException], str] = {
    IncompleteAnswerError: f"{BY_ITSELF} If it stays so, ask the vendor's support.",
    MethodUnavailableError: "Give the user of the key the right to this method, or leave the table out.",
    HistoryLimitError: "Set start_date of the source to the first day that the message names.",
    RequestRefusedError: "See whether there is a newer version of comagic_pipeline; until then leave the table out.",
    SessionEndedError: f"Check the key in the configuration; {_AGAIN}.",
    PermanentError: f"Correct what the message names; {_AGAIN}.",
    ConfigError: f"Correct the configuration, or set the variable, and start the services again; {_AGAIN}.",
    StructureChangedError: f"Take the change of the report back, or load it anew with --rebuild; {_AGAIN}.",
    MonthsLeftError: "Do what the message says; the next run of retention deletes what was left.",
    RowsRefusedError: f"See whether there is a newer version of comagic_pipeline; else report the message; {_AGAIN}.",
    DiskFullError: "Make room on the disk that the message names; then it is tried again by itself while `up` runs.",
    WarehouseError: f"See that the database runs and can be reached. {BY_ITSELF}",
    SQLAlchemyError: f"See that the database runs and has room. {BY_ITSELF}",
}


def next_step(error: BaseException, zone: tzinfo) -> str | None:
    """Return what a person does about it; None where nobody can tell. Hours are by the clock of `zone`."""
    if isinstance(error, DayPointsSpentError):
        return f"Nothing: it goes on by itself at {error.until.astimezone(zone):%Y-%m-%d %H:%M} ({zone})."
    if isinstance(error, ComagicError):
        if error.parts:
            steps = dict.fromkeys(step for part in error.parts if (step := next_step(part, zone)))
            return " ".join(steps) or None
        if error.mnemonic and error.mnemonic in _BY_MNEMONIC:
            return _BY_MNEMONIC[error.mnemonic]
    found = next((step for kind, step in _BY_CLASS.items() if isinstance(error, kind)), None)
    return found or (BY_ITSELF if isinstance(error, ComagicError) and error.may_pass else None)
