"""Protect stored rows from loads that would remove many of them: the Launchpad field and its meaning."""

from dagster import Config, DagsterRun
from pydantic import Field

from comagic_pipeline.api.quota import utc_now
from comagic_pipeline.config import Source
from comagic_pipeline.config.calendar import today
from comagic_pipeline.dagster.runs import ACCEPTS_LOSS
from comagic_pipeline.warehouse.losses import LossLimit, Protection


class LoadConfig(Config):
    """The fields of the Launchpad for an asset that is loaded from the API."""

    accept_loss: bool = Field(
        default=False,
        description="Replace stored rows even if that removes more of them than loss_limit of the configuration.",
    )


def protection(source: Source, run: DagsterRun, config: LoadConfig) -> Protection:
    """Return how the source's stored rows are protected from a run."""
    limit = source.loss_limit
    is_accepted = config.accept_loss or ACCEPTS_LOSS in run.tags
    return Protection(
        None if is_accepted else LossLimit(limit.percent, limit.rows),
        today(source, utc_now()),
        keeps_removed=source.keep_deleted_days > 0,
    )
