"""Russian for messages of the journal, alerts and next steps. What is not here stays English."""

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
    "refused": "не принято",
    "different": "расхождения",
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
        (r"^the run did not begin:", "запуск не начался:"),
        (r"^the run ended without a word:", "запуск прерван извне:"),
        (r"the process of this run is gone; what it committed stays",
         "его процесс исчез; то, что он записал, сохранено"),
        (r"the run was created and never launched", "его создали и не запустили"),
        (r"Run timed out due to taking longer than (\d+) seconds to start\.", r"он не стартовал за \1 секунд."),
        (r"Run execution process for \S+ unexpectedly exited with code (-?\d+)\.",
         r"его процесс завершился с кодом \1."),
        (r"Run execution process for \S+ was terminated by signal (\d+) \((\w+)\)\.",
         r"его процесс завершён сигналом \1 (\2)."),
        (r"This usually indicates that the process was killed by the operating system.*",
         "Обычно это нехватка памяти."),
        (r"Exceeded maximum runtime of (\d+) seconds\.", r"он шёл дольше \1 секунд."),
        (r"Caught an unrecoverable error while dequeuing the run\. Marking the run as failed and dropping it from the "
         r"queue", "его не удалось взять из очереди"),
        (r"Run dequeue failed to reach the user code server after (\d+) attempts, failing run",
         r"сервер кода не ответил за \1 попытки"),
        (r"Dagster gives no reason", "Dagster не сообщает причину"),
        (r"(\S+): the API does not know (.+) any more; left empty", r"\1: API больше не знает \2; поля пусты"),
        (r"(\S+): the account has not the component for (.+); left empty",
         r"\1: в аккаунте не подключён компонент для \2; поля пусты"),
        (r"(\S+): the API refuses (.+); left empty", r"\1: API не принимает \2; поля пусты"),
        (r"the table (\w+) cannot do without (.+): leave it out", r"таблица \1 невозможна без \2: не загружайте её"),
        (r"the answer is larger than (\d+) MB; it was not read to its end",
         r"ответ больше \1 МБ; он не прочитан до конца"),
        (r"the JSON of the answer is nested deeper than (\d+) levels", r"JSON ответа вложен глубже \1 уровней"),
        (r"the answer is packed as (\S+), which was not asked for", r"ответ сжат как \1, чего никто не просил"),
        (r"it names a SOCKS proxy, which is not supported", "это SOCKS-прокси, они не поддерживаются"),
        (r"it names no usable proxy", "такой прокси использовать нельзя"),
        (r"set it to http://host:port with a port from 1 to 65535, unset it, or name the host of the API in no_proxy",
         "задайте http://узел:порт с портом от 1 до 65535, уберите переменную или впишите узел API в no_proxy"),
        (r"cannot be used \((.+)\); set it to the certificates that are to be trusted, or unset it",
         r"нельзя использовать (\1); укажите доверенные сертификаты или уберите переменную"),
        (r"cannot reach (\S+) through the proxy of (\w+):", r"нет связи с \1 через прокси из \2:"),
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
        (r"See whether there is a newer version of comagic_pipeline; else report the message",
         "Проверьте, нет ли новой версии comagic_pipeline; если нет, сообщите разработчикам текст ошибки"),
        (r"the database refuses more than (\d+) rows of (\S+), so that the days were left as they were; the last one "
         r"because:", r"база не принимает больше \1 строк таблицы \2; дни остались как были; последняя причина:"),
        (r"(\S+): (\d+) rows could not be stored \(comagic_ops\.rejected_rows\)",
         r"\1: не сохранено строк: \2 (comagic_ops.rejected_rows)"),
        (r"Correct what the message names", "Исправьте то, что названо в сообщении"),
        (r"Correct the configuration, or set the variable, and start the services again",
         "Исправьте настройки или задайте переменную и перезапустите службы"),
        (r"Take the change of the report back, or load it anew with --rebuild",
         "Верните описание отчёта или загрузите его заново с --rebuild"),
        (r"the disk of the database server at (\S+) is full: make room on it",
         r"диск сервера базы \1 полон: освободите место"),
        (r"the disk of (.+) is full: make room on it", r"диск, на котором \1, полон: освободите место"),
        (r"Make room on the disk that the message names; then it is tried again by itself while `up` runs\.",
         "Освободите место на этом диске; пока работает `up`, загрузка затем повторится сама."),
        (r"See that the database runs and can be reached\.", "Проверьте, что база работает и доступна."),
        (r"See that the database runs and has room\.", "Проверьте, что база работает и в ней есть место."),
        (r"This is a mistake of comagic_pipeline: please report it with the traceback\.",
         "Это ошибка comagic_pipeline: сообщите о ней и приложите журнал ошибок."),
        (r"\(traceback in (.+)\)", r"(подробности в \1)"),
        (r"Do what the message says; the next run of retention deletes what was left\.",
         "Сделайте то, что сказано в сообщении; следующий запуск очистки удалит оставшееся."),
        (r"(\S+) to (\S+) of (\S+) stay:", r"\3 с \1 по \2 осталось:"),
        (r"(\S+) is needed by (.+?): drop that, or make it of (\S+)",
         r"\1 нужна для \2: удалите это или стройте из \3"),
        (r"rows of (\S+) refer to rows of (\S+) \(foreign key (\S+)\): delete those rows, or drop the foreign key",
         r"на строки \2 ссылаются строки \1 (внешний ключ \3): удалите их или внешний ключ"),
        (r"(\S+) is detached from (\S+): attach it, rename it or drop it",
         r"\1 отсоединена от \2: присоедините, переименуйте или удалите её"),
        (r"the server refuses it \((.+?)\): correct that", r"сервер отказал (\1): исправьте причину"),
        (r"the table keeps its (\d+) rows because the answer, with (\d+), would remove too many of them",
         r"в таблице оставлено строк: \1, потому что в ответе их \2 и пропало бы слишком много"),
        (r"(\d+) days keep their rows because the answer would remove too many of them:",
         r"строки оставлены за дней: \1, потому что с ответом их пропало бы слишком много:"),
        (r"(\d{4}-\d\d-\d\d) of customer (\d+) has (\d+), the answer (\d+)", r"\1, клиент \2: было \3, в ответе \4"),
        (r"(\d{4}-\d\d-\d\d) has (\d+), the answer (\d+)", r"\1: было \2, в ответе \3"),
        (r"(\d+) more are in comagic_ops\.loaded_days", r"ещё \1 — в comagic_ops.loaded_days"),
        (r"See whether the personal account shows the same; if the rows are really gone, load again with "
         r"--accept-loss, or with accept_loss in the Launchpad\.",
         "Проверьте, так ли это в личном кабинете; если строк действительно больше нет, загрузите снова "
         "с --accept-loss или с accept_loss в Launchpad."),
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
        (r"(\S+) to (\S+): (\S+) is not loaded, so the star of these days is empty: load it too",
         r"\1 – \2: \3 не загружен, поэтому звезда за эти дни пуста: загрузите и его"),
        (r"rows change with every page", "строки меняются с каждой страницей"),
        (r"read without order from ([\d-]+), at more points", r"прочитано без порядка с \1, за большее число баллов"),
        (r"(\S+) to (\S+) of (.+): run (\S+) \((.+), (started|not started yet)\) loads them too; both runs spend "
         r"points on them, so cancel one of the two to spend them once",
         r"\3 с \1 по \2: эти дни загружает и запуск \4 (\5); баллы тратят оба запуска, отмените один из них, чтобы "
         r"потратить их один раз"),
        (r"(\d+) days differ from what CoMagic says:", r"дней с расхождениями: \1:"),
        (r"Nothing at first: the days are loaded again by themselves while `up` runs\.",
         "Пока ничего: пока работает `up`, дни загрузятся снова сами."),
        (r"Load the days again, or let `comagic-pipeline reconcile --heal` do it\.",
         "Загрузите дни снова или выполните `comagic-pipeline reconcile --heal`."),
        (r"; then load the days again\.", "; затем загрузите дни снова."),
    )
)  # fmt: skip
"""Parts of texts, each translated where it stands."""


@overload
def text_in(language: Language, text: str) -> str: ...


@overload
def text_in(language: Language, text: None) -> None: ...


def text_in(language: Language, text: str | None) -> str | None:
    """Return the text in a language; what has no translation stays as it is."""
    if language == "en" or text is None:
        return text
    if text in _RUSSIAN:
        return _RUSSIAN[text]
    for english, russian in _PATTERNS:
        text = english.sub(russian, text)
    return text
