"""What people read, in Russian: words, next steps and the messages that this project makes. The rest stays English."""

import re
from collections.abc import Mapping
from typing import Literal, overload

Language = Literal["en", "ru"]

_RUSSIAN: Mapping[str, str] = {
    "rows": "строк",
    "added": "добавлено",
    "updated": "изменено",
    "deleted": "удалено",
    "points": "баллов",
    "seconds": "секунд",
    "done": "готово",
    "skipped": "пропущено",
    "failed": "ошибка",
    "warning": "предупреждение",
    "person": "человек",
    "the journal has no such lines": "в журнале нет таких строк",
    "DagsterExecutionInterruptedError": "загрузка остановлена",
}
"""Whole texts."""

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(english), russian)
    for english, russian in (
        (r"^schedule (\S+)$", r"расписание \1"),
        (r"^sensor (\S+)$", r"сенсор \1"),
        (r"^backfill (\S+)$", r"дозагрузка \1"),
        (r"^command (\S+)$", r"команда \1"),
        (r"the API says (\w+):", r"API отвечает \1:"),
        (r"the key is blocked: unblock it or make a new one in the account", "ключ заблокирован"),
        (r"login or password is wrong: correct them in the config", "неверный логин или пароль"),
        (r"check the key and that base_url is the host of the account \(CoMagic or UIS\)",
         "проверьте ключ и base_url: адрес должен быть вашего кабинета (CoMagic или UIS)"),
        (r"the key ran out: make a new one in the account", "срок действия ключа истёк"),
        (r"the account is disabled: contact the vendor's support", "аккаунт отключён"),
        (r"give the user of the key the right to this method", "у пользователя ключа нет права на этот метод"),
        (r"connect the component, or leave the table out", "компонент не подключён"),
        (r"the day's points are spent \((\d+) left", r"дневные баллы израсходованы (осталось \1"),
        (r"the day's points are spent \(none left", "дневные баллы израсходованы (не осталось"),
        (r", (\d+) are kept in reserve\)", r", \1 — резерв)"),
        (r"they start anew at ([\d: -]+) UTC", r"новые будут \1 UTC"),
        (r"if some were bought since, `comagic-pipeline doctor` asks anew",
         "если вы их докупили, выполните `comagic-pipeline doctor`"),
        (r"cannot reach (\S+):", r"нет связи с \1:"),
        (r"no answer from (\S+) in time", r"\1 не ответил вовремя"),
        (r"the environment variable (\w+) is not set", r"не задана переменная окружения \1"),
        (r"Nothing: it goes on by itself at ([\d: -]+) \((\S+)\)\.", r"Ничего: продолжится само в \1 (\2)."),
        (r"Nothing at first: it is tried again by itself while `up` runs\.",
         "Пока ничего: пока работает `up`, загрузка повторится сама."),
        (r"If it stays so, ask the vendor's support\.", "Если не пройдёт, обратитесь в поддержку CoMagic."),
        (r"Nothing, if a person stopped it; else it goes on by itself while `up` runs\.",
         "Ничего, если её остановил человек; иначе продолжится сама, пока работает `up`."),
        (r"Unblock the key in the account, or make a new one and set it", "Разблокируйте ключ или создайте новый"),
        (r"Check the key and base_url in the configuration", "Проверьте ключ и base_url в настройках"),
        (r"Check the key in the configuration", "Проверьте ключ в настройках"),
        (r"Make a new key in the account and set it", "Создайте новый ключ в кабинете"),
        (r"Correct login and password", "Исправьте логин и пароль"),
        (r"Add the address of this machine to the API settings of the account",
         "Добавьте адрес этой машины в настройки API в кабинете"),
        (r"Ask the vendor's support to enable the account", "Попросите поддержку CoMagic включить аккаунт"),
        (r"Give the user of the key the right to this method, or leave the table out\.",
         "Дайте пользователю ключа право на этот метод или не загружайте таблицу."),
        (r"Connect the component in the account, or leave the table out\.",
         "Подключите компонент в кабинете или не загружайте таблицу."),
        (r"Leave the table out: tables in the configuration\.", "Уберите таблицу из tables в настройках."),
        (r"See whether there is a newer version of comagic_pipeline; until then leave the table out\.",
         "Проверьте, нет ли новой версии comagic_pipeline; до тех пор не загружайте таблицу."),
        (r"Correct what the message names", "Исправьте то, что названо в сообщении"),
        (r"Correct the configuration, or set the variable, and start the services again",
         "Исправьте настройки или задайте переменную и перезапустите службы"),
        (r"Take the change of the report back, or load it anew with --rebuild",
         "Верните описание отчёта или загрузите его заново с --rebuild"),
        (r"See that the database runs and can be reached\.", "Проверьте, что база работает и доступна."),
        (r"See that the database runs and has room\.", "Проверьте, что база работает и в ней есть место."),
        (r"See the run for the whole of it: it is a mistake of comagic_pipeline, please report it\.",
         "Подробности — в запуске: это ошибка comagic_pipeline, сообщите о ней."),
        (r"Set start_date of the source to the first day that the message names\.",
         "Укажите в start_date источника первый день, названный в сообщении."),
        (r"the API gives no days before ([\d-]+): set start_date", r"API не отдаёт дни раньше \1: укажите start_date"),
        (r"the API counts other numbers of rows than it hands out, whatever is asked; stored and marked as unproven:",
         "API считает не столько строк, сколько отдаёт, при любом запросе; сохранено с пометкой «не доказано»:"),
        (r"(\d+) stored, the API counts (\d+)", r"сохранено \1, API считает \2"),
        (r"; and (\d+) more days$", r"; и ещё дней: \1"),
        (r"the API counts (\d+) rows and hands out (\d+), in two equal readings; stored as they came",
         r"API считает строк: \1, а отдаёт \2, дважды одинаково; сохранено как есть"),
        (r"the API counts (\d+) rows and hands out (\d+)", r"API считает строк: \1, а отдаёт \2"),
        (r"rows change with every page", "строки меняются с каждой страницей"),
        (r"read without order from ([\d-]+), at more points", r"прочитано без порядка с \1, за большее число баллов"),
        (r"; then load the days again\.", "; затем загрузите дни снова."),
    )
)  # fmt: skip
"""Parts of texts, each translated where it stands."""


@overload
def text_in(language: Language, text: str) -> str: ...


@overload
def text_in(language: Language, text: None) -> None: ...


def text_in(language: Language, text: str | None) -> str | None:
    """The text in a language; what has no translation stays as it is."""
    if language == "en" or text is None:
        return text
    if text in _RUSSIAN:
        return _RUSSIAN[text]
    for english, russian in _PATTERNS:
        text = english.sub(russian, text)
    return text
