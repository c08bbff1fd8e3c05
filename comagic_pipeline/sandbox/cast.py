"""Who and what the rows of a world speak of: sites, campaigns, sources, employees, tags, scenarios, contacts.

They stay the same for the whole life of a world. The lists that the API serves of them are made in ``dictionaries``,
the reports about them in ``calls`` and its kin.
"""

from dataclasses import dataclass
from random import Random

from comagic_pipeline.sandbox import texts
from comagic_pipeline.sandbox.specification import Row

APP_ID = 10100
NO_CAMPAIGN_ID = 77000
_DELETED_CAMPAIGNS = 2


@dataclass(frozen=True)
class Source:
    """A detailed traffic source, with its group and channel, and what a visit from it looks like."""

    id: int
    name: str
    group: str
    channel_name: str
    channel_code: str
    legacy_channel: str
    engine: str | None = None
    """The ad system whose integration makes campaigns of this source."""
    search_engine: str | None = None
    referrer_domain: str | None = None
    utm_source: str | None = None
    utm_medium: str | None = None
    click_id: str | None = None
    """The column that holds the click id of the ad system."""


SOURCES = (
    Source(8, "Яндекс.Директ", "Яндекс.Директ", "Контекстная реклама", "context", "paid", "yandex.direct",
           "yandex", "yandex.ru", "yandex", "cpc", "yclid"),
    Source(9, "Google Ads", "Google Ads", "Контекстная реклама", "context", "paid", "google.adwords",
           "google", "google.com", "google", "cpc", "gclid"),
    Source(12, "VK Реклама", "VK", "Социальные сети", "social", "social", "vk.ads",
           None, "vk.com", "vk", "cpm"),
    Source(2, "Яндекс (поиск)", "Яндекс", "Поисковые системы", "organic", "organic", None,
           "yandex", "yandex.ru"),
    Source(31, "Яндекс.Маркет", "Яндекс.Маркет", "Агрегаторы", "aggregator", "referral", None,
           None, "market.yandex.ru", "market", "referral", "ymclid"),
    Source(20, "Рассылка «Осень»", "Email", "Email-рассылки", "email", "email", None,
           None, None, "email", "newsletter"),
    Source(27, "Telegram", "Мессенджеры", "Мессенджеры", "messenger", "messenger", None,
           None, "t.me", "telegram", "post"),
    Source(40, "AdLens", "AdLens", "Медийная реклама", "display", "display", None,
           None, "ads.example", "adlens", "display", "ef_id"),
    # Built-in sources have negative ids, as the built-in channel of the docs.
    Source(-1, "Прямые заходы", "Прямые заходы", "Прямые заходы", "direct", "direct"),
)  # fmt: skip


@dataclass(frozen=True)
class Site:
    """A site of the account and its tracking numbers."""

    id: int
    domain: str
    phone_numbers: tuple[str, ...]


@dataclass(frozen=True)
class Campaign:
    """An advertising campaign; ``deleted`` ones are left in old rows but in no list."""

    id: int
    name: str
    site: Site
    source: Source
    deleted: bool


@dataclass(frozen=True)
class Person:
    """An employee or a contact of the address book."""

    id: int
    full_name: str


@dataclass(frozen=True)
class Named:
    """A tag or a segment."""

    id: int
    name: str


@dataclass(frozen=True)
class Scenario:
    """A scenario of call handling and its operations, as the rows show them."""

    id: int
    name: str
    operations: list[Row]


class Cast:
    """Everything that has a name in a world, by its seed and the number of campaigns that get.campaigns lists."""

    def __init__(self, seed: int, campaigns: int, timezone: str, *, nul_characters: bool) -> None:
        self.seed = seed
        self.timezone = timezone
        random = Random(f"{seed}/cast")  # noqa: S311 - rows, not secrets
        self.comments = (*texts.COMMENTS, texts.NUL_COMMENT) if nul_characters else texts.COMMENTS
        self.sites = [
            Site(4501 + index, domain, tuple(f"7495{index:03}{number:04}" for number in range(101, 106)))
            for index, domain in enumerate(texts.SITES)
        ]
        self.employees = self._people(random, first_id=5001, count=9)
        self.contacts = self._people(random, first_id=2201, count=40)
        self.tags = [Named(62001 + index, name) for index, name in enumerate(texts.TAG_NAMES)]
        self.segments = [Named(301 + index, name) for index, name in enumerate(texts.SEGMENT_NAMES)]
        self.scenarios = [
            Scenario(
                40001 + index,
                name,
                [{"id": 267001 + 10 * index + number, "name": text} for number, text in enumerate(operations)],
            )
            for index, (name, operations) in enumerate(texts.SCENARIOS.items())
        ]
        self.campaigns = [self._campaign(index, campaigns) for index in range(campaigns + _DELETED_CAMPAIGNS)]

    def _campaign(self, index: int, listed: int) -> Campaign:
        """Campaign 0 is the built-in one of visitors without a campaign."""
        name = texts.CAMPAIGN_NAMES[(index - 1) % len(texts.CAMPAIGN_NAMES)] if index else texts.NO_CAMPAIGN_NAME
        if index > len(texts.CAMPAIGN_NAMES):
            name = f"{name} {index}"
        source = SOURCES[(index - 1) % len(SOURCES)]
        site = self.sites[index % len(self.sites)]
        return Campaign(NO_CAMPAIGN_ID + index, name, site, source, deleted=index >= listed)

    @staticmethod
    def _people(random: Random, first_id: int, count: int) -> list[Person]:
        def pick(words: tuple[str, ...]) -> str:
            return words[int(random.random() * len(words))]

        return [
            Person(first_id + index, f"{pick(texts.LAST_NAMES)} {pick(texts.FIRST_NAMES)}") for index in range(count)
        ]
