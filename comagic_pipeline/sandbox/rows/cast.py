"""Who and what the rows of a world speak of: sites, campaigns, sources, employees, tags, scenarios, contacts.

They stay the same for the whole life of a world. The lists that the API serves of them are made in ``dictionaries``,
``sites``, ``employees`` and their like, the reports about them in ``calls`` and its kin.
"""

from dataclasses import dataclass
from functools import cached_property
from random import Random

from comagic_pipeline.sandbox.rows import texts
from comagic_pipeline.sandbox.specification import Row

APP_ID = 10100
NO_CAMPAIGN_ID = 77000
OFFICE_PHONE_NUMBER = "74950000201"
"""Where the calls are put through to, whoever takes them."""
USER_LOGIN = "user@example.test"
_FIRST_USER_ID = 2801
_FIRST_CUSTOMER_ID = 18301
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
    """A site of the account and its tracking numbers; the ids of these go on from ``first_phone_number_id``."""

    id: int
    domain: str
    phone_numbers: tuple[str, ...]
    first_phone_number_id: int


@dataclass(frozen=True)
class Ad:
    """An ad of an integrated campaign, with the keyword that shows it; ids are those of the ad system."""

    group_id: int
    group_name: str
    keyword_id: int
    keyword: str
    banner_id: int
    banner_name: str
    old_banner_ids: tuple[int, ...]


@dataclass(frozen=True)
class Campaign:
    """An advertising campaign; ``deleted`` ones are left in old rows but in no list.

    ``index`` counts from the built-in campaign of visitors without one, which is 0.
    """

    index: int
    id: int
    name: str
    site: Site
    source: Source
    deleted: bool

    @property
    def engine(self) -> str | None:
        """The ad system that an integrated campaign comes from."""
        return self.source.engine if self.index and self.index % 2 == 0 else None

    @property
    def ext_id(self) -> str | None:
        """The id of an integrated campaign in the ad system."""
        return str(700_000_000 + self.id) if self.engine else None

    @property
    def ext_name(self) -> str | None:
        """The name of an integrated campaign in the ad system."""
        return f"{self.name} / {self.engine}" if self.engine else None

    @cached_property
    def ads(self) -> tuple[Ad, ...]:
        """The ads of an integrated campaign; none of any other."""
        if self.engine is None:
            return ()
        first = 10 * self.id
        return tuple(
            Ad(
                5_400_000_000 + first + index // 2,
                f"Группа {1 + index // 2}",
                50_000_000_000 + first + index,
                keyword,
                16_000_000_000 + first + index,
                f"Объявление {1 + index}",
                (15_000_000_000 + first + index,) if index else (),
            )
            for index, keyword in enumerate(texts.KEYWORDS)
        )


@dataclass(frozen=True)
class Person:
    """An employee or a contact of the address book."""

    id: int
    full_name: str

    @property
    def name_columns(self) -> Row:
        """The name as the lists tell it; nobody here has a patronymic but every third."""
        last_name, first_name = self.full_name.split(" ")
        patronymic = "Ильич" if self.id % 3 == 0 else None
        return {"first_name": first_name, "last_name": last_name, "patronymic": patronymic, "full_name": self.full_name}


@dataclass(frozen=True)
class Named:
    """A tag, a segment, a group of employees."""

    id: int
    name: str


@dataclass(frozen=True)
class Status:
    """What an employee is doing; only built-in ones have a code."""

    id: int
    name: str
    mnemonic: str | None
    is_deleted: bool


@dataclass(frozen=True)
class ChatChannel:
    """A channel that chats come through: the widget of the site or a messenger."""

    id: int
    name: str
    type: str
    status: str


@dataclass(frozen=True)
class Goal:
    """What visitors are wanted to do."""

    id: int
    name: str
    type: str
    source: str
    ext_id: str | None


@dataclass(frozen=True)
class Scenario:
    """A scenario of call handling and its operations, as the rows show them."""

    id: int
    name: str
    operations: list[Row]


class Cast:
    """Everything that has a name in a world, by its seed and the number of campaigns that get.campaigns lists.

    ``customer`` is the ordinal of an agent's customer, 0 for an account of its own: the ids of two customers lie apart.
    """

    def __init__(self, seed: int, campaigns: int, timezone: str, *, nul_characters: bool, customer: int = 0) -> None:
        self.seed = seed
        self.timezone = timezone
        self.customer = customer
        self.app_id = APP_ID + customer
        self.id_offset = customer * 10**12
        """What is added to the ids of rows; those of names have an offset of their own, as they are smaller."""
        self.customer_id = _FIRST_CUSTOMER_ID + customer - 1
        self.user_id = _FIRST_USER_ID + max(customer - 1, 0)
        """The user of the account who makes the requests and puts the tags."""
        self.customers: list[Cast] = []
        """The accounts of an agent's customers; an agent has no calls of its own to speak of."""
        first = customer * 1_000_000
        random = Random(f"{seed}/cast")  # noqa: S311 - rows, not secrets
        self.comments = (*texts.COMMENTS, texts.NUL_COMMENT) if nul_characters else texts.COMMENTS
        self.sites = [self._site(index, domain) for index, domain in enumerate(texts.SITES)]
        self.employees = self._people(random, first_id=first + 5001, count=9)
        self.contacts = self._people(random, first_id=first + 2201, count=40)
        self.tags = [Named(first + 62001 + index, name) for index, name in enumerate(texts.TAG_NAMES)]
        self.segments = [Named(first + 301 + index, name) for index, name in enumerate(texts.SEGMENT_NAMES)]
        self.groups = [Named(first + 610 + index, name) for index, name in enumerate(texts.EMPLOYEE_GROUPS)]
        self.statuses = [Status(first + 1 + index, *status) for index, status in enumerate(texts.STATUSES)]
        self.chat_channels = [
            ChatChannel(first + 901 + index, *channel) for index, channel in enumerate(texts.CHAT_CHANNELS)
        ]
        self.goals = [Goal(first + 1201 + index, *goal) for index, goal in enumerate(texts.GOALS)]
        self.scenarios = [
            Scenario(
                first + 40001 + index,
                name,
                [{"id": first + 267001 + 10 * index + number, "name": text} for number, text in enumerate(operations)],
            )
            for index, (name, operations) in enumerate(texts.SCENARIOS.items())
        ]
        self.campaigns = [self._campaign(index, campaigns) for index in range(campaigns + _DELETED_CAMPAIGNS)]
        self.no_campaign_id = self.campaigns[0].id

    @cached_property
    def campaigns_by_id(self) -> dict[int, Campaign]:
        """Listed campaigns and deleted ones."""
        return {campaign.id: campaign for campaign in self.campaigns}

    def group_of(self, employee_id: int) -> Named | None:
        """Return the group of an employee: the last of the employees is in none."""
        index = employee_id - self.employees[0].id
        return self.groups[index % len(self.groups)] if 0 <= index < len(self.employees) - 1 else None

    def _site(self, index: int, domain: str) -> Site:
        first = self.customer * 1_000_000
        number = self.customer * len(texts.SITES) + index
        return Site(
            first + 4501 + index,
            f"client{self.customer}.{domain}" if self.customer else domain,
            tuple(f"7495{number % 1000:03}{extension:04}" for extension in range(101, 106)),
            first + 89001 + 5 * index,
        )

    def _campaign(self, index: int, listed: int) -> Campaign:
        """Campaign 0 is the built-in one of visitors without a campaign."""
        name = texts.CAMPAIGN_NAMES[(index - 1) % len(texts.CAMPAIGN_NAMES)] if index else texts.NO_CAMPAIGN_NAME
        if index > len(texts.CAMPAIGN_NAMES):
            name = f"{name} {index}"
        source = SOURCES[(index - 1) % len(SOURCES)]
        site = self.sites[index % len(self.sites)]
        campaign_id = self.customer * 1_000_000 + NO_CAMPAIGN_ID + index
        return Campaign(index, campaign_id, name, site, source, deleted=index >= listed)

    @staticmethod
    def _people(random: Random, first_id: int, count: int) -> list[Person]:
        def pick(words: tuple[str, ...]) -> str:
            return words[int(random.random() * len(words))]

        return [
            Person(first_id + index, f"{pick(texts.LAST_NAMES)} {pick(texts.FIRST_NAMES)}") for index in range(count)
        ]
