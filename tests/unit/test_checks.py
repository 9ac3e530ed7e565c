"""The system checks: each names what is wrong, and the way out, and is silent when nothing is."""

import re
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.db import connections

from mainspring import checks
from mainspring.checks import check_backend, check_databases, check_stores
from mainspring.compat import task_backends
from tests.stores import only_redis

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "checks.md"
DATABASE = "mainspring.backends.DatabaseBackend"
MEMORY = "mainspring.backends.MemoryBackend"
REDIS = "mainspring.backends.RedisBackend"
URL = "redis://localhost:6379/0"


@pytest.fixture
def found(settings):
    """Return what the checks say about TASKS with these options, keys and further aliases: (id, message) of each."""

    def found(options=(), others=(), **keys):
        settings.TASKS = {"default": {"BACKEND": MEMORY, "OPTIONS": dict(options), **keys}, **dict(others)}
        alias = list(settings.TASKS)[-1]
        return [(message.id, message.msg) for message in check_backend(alias, settings.TASKS[alias])]

    return found


@pytest.fixture
def sqlite(monkeypatch, settings):
    """Let the jobs live in a SQLite file with the OPTIONS that are given; return what the checks say."""

    def sqlite(options):
        settings.TASKS = {"default": {"BACKEND": DATABASE}}
        connection = connections["default"]
        monkeypatch.setattr(connection, "vendor", "sqlite")
        monkeypatch.setattr(connection, "is_in_memory_db", lambda: False, raising=False)
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
        return check_backend("default", settings.TASKS["default"])

    return sqlite


def test_good_settings_pass_without_a_word(found):
    assert found({"serve": ["mail"], "exclude": ["slow"]}, QUEUES=["default", "mail", "slow"]) == []


def test_every_wrong_option_is_an_error_of_its_own(found):
    ids = found({"treads": 4, "max_attempts": "three"})

    assert ids == [
        ("mainspring.E001", "TASKS['default'] OPTIONS: unknown option 'treads'; did you mean 'threads'?"),
        (
            "mainspring.E001",
            "TASKS['default'] OPTIONS['max_attempts']: expected a whole number from 1 to 1,000,000, got 'three'.",
        ),
    ]


def test_the_app_must_be_installed(found, settings):
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "mainspring"]

    assert found() == [("mainspring.E002", "TASKS['default'] needs the app mainspring.")]


@pytest.mark.parametrize("queues", ["default", None, [""], ["x" * 101], [1]])
def test_queues_are_a_list_of_names(queues):
    (message,) = check_backend("default", {"QUEUES": queues})

    assert message.id == "mainspring.E003"
    assert message.msg.startswith("TASKS['default']['QUEUES']: expected a list of queue names (texts of 1 to 100")


@pytest.mark.parametrize("option", ["serve", "exclude"])
def test_a_worker_s_queue_that_does_not_exist_is_named_with_the_nearest(found, option):
    """A misspelt queue would be served by nobody, or left out by nobody."""
    assert found({option: ["mial"]}, QUEUES=["default", "mail"]) == [
        ("mainspring.E003", f"TASKS['default'] OPTIONS[{option!r}]: QUEUES has no 'mial'; did you mean 'mail'?")
    ]


def test_an_empty_list_of_queues_allows_every_name(found):
    assert found({"serve": ["mial"], "exclude": ["other"]}, QUEUES=[]) == []


def test_exclude_needs_a_list_to_exclude_from(found):
    """Where every name is allowed nobody knows what is left."""
    assert found({"exclude": ["slow"]}, QUEUES=[]) == [
        (
            "mainspring.E003",
            "TASKS['default'] OPTIONS['exclude']: QUEUES is empty, so there is no list to exclude from.",
        )
    ]


@pytest.mark.parametrize("options", [{"exclude": ["default"]}, {"serve": ["mail"], "exclude": ["mail", "default"]}])
def test_a_worker_must_be_left_a_queue(found, options):
    assert found(options, QUEUES=["default", "mail"] if "serve" in options else ["default"]) == [
        ("mainspring.E003", "TASKS['default'] OPTIONS['exclude']: no queue is left for a worker to serve.")
    ]


def test_a_key_that_nobody_reads(found):
    """Django ignores it in silence, and so the option would never work."""
    assert found(MAX_ATTEMPTS=5) == [("mainspring.W005", "TASKS['default']['MAX_ATTEMPTS'] is read by nobody.")]


def test_a_key_that_is_an_option_is_sent_to_its_place(settings):
    settings.TASKS = {"default": {"BACKEND": MEMORY, "Threads": 5}}
    (message,) = check_backend("default", settings.TASKS["default"])

    assert message.hint == "Put it into TASKS['default']['OPTIONS'], in lower case."


def test_on_commit_says_what_it_can_lose(found):
    ((id, message),) = found({"on_commit": True})

    assert id == "mainspring.W003"
    assert "is lost when the process dies between the commit and the sending" in message


# One database, several aliases.


@pytest.mark.parametrize(
    ("mine", "others"), [(["default"], ["default", "mail"]), ([], ["default"]), (["default"], [])]
)
def test_two_aliases_cannot_share_queues_of_one_database(found, mine, others):
    """A row says its queue, not its alias."""
    settings = {"BACKEND": DATABASE, "QUEUES": mine}
    found_of_both = found(others={"second": {"BACKEND": DATABASE, "QUEUES": others}}, **settings)

    assert "mainspring.E004" in [id for id, _ in found_of_both]


@pytest.mark.parametrize(
    "second",
    [
        {"BACKEND": DATABASE, "QUEUES": ["mail"]},
        {"BACKEND": DATABASE, "OPTIONS": {"database": "other"}},
        {"BACKEND": MEMORY},
        {"BACKEND": f"{type(task_backends).__module__}.backends.dummy.DummyBackend"},
    ],
)
def test_aliases_that_share_nothing_are_fine(found, second):
    found_of_both = found(others={"second": {"BACKEND": DATABASE}}, **second)

    assert "mainspring.E004" not in [id for id, _ in found_of_both]


def test_two_names_of_one_database_are_one_database(found, monkeypatch):
    """`direct` beside `default`, to get round a pooler, leads to the same rows."""
    monkeypatch.setattr(connections["other"], "settings_dict", connections["default"].settings_dict)
    second = {"BACKEND": DATABASE, "OPTIONS": {"database": "other"}}

    assert "mainspring.E004" in [id for id, _ in found(others={"second": second}, BACKEND=DATABASE)]


@pytest.mark.parametrize(
    ("name", "value"), [("rescue_after", 60), ("max_crashes", 0), ("retention", {"failed": None})]
)
def test_aliases_of_one_database_look_after_it_alike(found, name, value):
    """The workers of each rescue and prune all jobs that are there."""
    second = {"BACKEND": DATABASE, "QUEUES": ["mail"], "OPTIONS": {name: value}}
    [(id, text)] = found(others={"second": second}, BACKEND=DATABASE)

    assert id == "mainspring.E005"
    assert f"differ in OPTIONS '{name}'" in text


# SQLite.


def test_sqlite_as_django_starts_a_project(sqlite):
    """The hint can be pasted, and says what it costs."""
    (message,) = sqlite({})

    assert message.id == "mainspring.W001"
    assert "without transaction_mode IMMEDIATE, a timeout of 10 s or more, journal_mode WAL" in message.msg
    pasted = re.search(r"\['OPTIONS'\] to (\{.*?\n\})", message.hint, re.DOTALL)[1]
    assert eval(pasted) == checks.SQLITE
    assert sqlite(eval(pasted)) == []
    assert "a power failure can take the last commits back" in message.hint


def test_the_advice_keeps_what_is_there(sqlite):
    given = {"timeout": 60, "init_command": "PRAGMA cache_size=-2000;", "check_same_thread": False}
    (message,) = sqlite(given)
    pasted = eval(re.search(r"\['OPTIONS'\] to (\{.*?\n\})", message.hint, re.DOTALL)[1])

    assert (pasted["timeout"], pasted["check_same_thread"]) == (60, False)
    assert pasted["init_command"].startswith("PRAGMA cache_size=-2000; PRAGMA journal_mode=WAL;")
    assert sqlite(pasted) == []


def test_full_synchronous_needs_no_advice(sqlite):
    """Who keeps every commit has nothing to mend."""
    assert sqlite({"transaction_mode": "immediate", "timeout": 20, "init_command": "pragma journal_mode = wal"}) == []


def test_one_database_is_advised_once(sqlite, settings):
    sqlite({})
    settings.TASKS = {alias: {"BACKEND": DATABASE, "QUEUES": [alias]} for alias in ("default", "mail")}

    assert [len(check_backend(alias, settings.TASKS[alias])) for alias in settings.TASKS] == [1, 0]


def test_a_database_in_memory_needs_no_advice(sqlite, monkeypatch, settings):
    sqlite({})
    monkeypatch.setattr(connections["default"], "is_in_memory_db", lambda: True)

    assert check_backend("default", settings.TASKS["default"]) == []


# Redis.


def test_a_redis_without_an_address_is_an_error(found):
    """Memory would be a silent loss."""
    assert found(BACKEND=REDIS) == [("mainspring.E006", "TASKS['default'] OPTIONS['url'] must say where Redis is.")]


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", 6379, ""])
def test_an_address_of_something_else_is_refused(found, url):
    ((id, message),) = found({"url": url}, BACKEND=REDIS)

    assert id == "mainspring.E001"
    assert "expected a URL that begins with redis://, rediss:// or unix://, or None, got" in message


def test_a_missing_client_is_an_error(found, monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda name: None)

    assert [id for id, _ in found({"url": URL}, BACKEND=REDIS)] == ["mainspring.E007"]


@pytest.mark.parametrize("option", [{"url": "redis://localhost"}, {"prefix": "shop"}])
def test_options_of_redis_are_of_no_use_elsewhere(found, option):
    ((id, message),) = found(option)

    assert id == "mainspring.W005"
    assert "is read by nobody: this backend keeps no jobs on Redis" in message


@pytest.mark.parametrize("prefix", ["{shop}", "a b", "", "x" * 101, 5])
def test_a_prefix_that_would_break_keys_is_refused(found, prefix):
    assert [id for id, _ in found({"url": URL, "prefix": prefix}, BACKEND=REDIS)] == ["mainspring.E001"]


def test_two_aliases_in_one_place_of_redis_share_no_queues(found):
    """The alias is part of the keys, unless somebody gives both the same prefix."""
    second = {"BACKEND": REDIS, "OPTIONS": {"url": URL}}
    assert found({"url": URL}, BACKEND=REDIS, others={"second": second}) == []

    same = {"url": URL, "prefix": "shop"}
    ids = [id for id, _ in found(same, BACKEND=REDIS, others={"second": second | {"OPTIONS": same}})]
    assert "mainspring.E004" in ids


def test_on_commit_false_says_what_it_can_do(found):
    ((id, message),) = found({"on_commit": False})

    assert id == "mainspring.W003"
    assert "runs even if that never comes" in message


def test_a_store_that_does_not_answer_is_named(settings):
    """Once it is asked what its settings put at risk."""
    settings.TASKS = {"default": {"BACKEND": REDIS, "OPTIONS": {"url": "redis://:secret@127.0.0.1:1"}}}
    (message,) = check_stores()

    assert message.id == "mainspring.W007"
    assert "redis://127.0.0.1:1" in message.msg
    assert "secret" not in message.msg


@only_redis
@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-lru", "noeviction"])
def test_an_eviction_policy_is_named_with_what_it_risks(redis, policy):
    redis.config_set("maxmemory-policy", policy)
    found = check_stores()
    redis.config_set("maxmemory-policy", "noeviction")

    named = [
        message for message in found if f"(maxmemory-policy {policy})" in message.msg and "all jobs" in message.msg
    ]
    assert len(named) == len(found) == policy.startswith("allkeys")


@only_redis
def test_missing_persistence_is_named_with_what_it_risks(own_server, settings):
    server = own_server(appendonly="no")
    settings.TASKS = {"default": {"BACKEND": REDIS, "OPTIONS": {"url": server.url}}}
    (message,) = check_stores()

    assert message.id == "mainspring.W006"
    assert "has no append-only file: when it ends" in message.msg
    assert "appendonly yes" in message.hint


# What the database says.


@pytest.fixture
def database_backend(settings):
    settings.TASKS = {"default": {"BACKEND": DATABASE}, "memory": {"BACKEND": MEMORY}}
    return settings


@pytest.mark.django_db
def test_migrated_databases_pass(database_backend):
    assert check_databases(databases=["default"]) == []


@pytest.mark.parametrize("databases", [None, [], ["other"]])
def test_databases_that_were_not_named_are_not_asked(database_backend, databases):
    assert check_databases(databases=databases) == []


@pytest.mark.django_db
def test_missing_tables_are_a_warning_with_the_command(database_backend, monkeypatch):
    """An error would stop `migrate` before it could make them. Two aliases that share a database say it once."""
    database_backend.TASKS = {alias: {"BACKEND": DATABASE, "QUEUES": [alias]} for alias in ("default", "mail")}
    introspection = connections["default"].introspection
    monkeypatch.setattr(introspection, "table_names", lambda cursor: ["mainspring_job", "mainspring_worker"])
    (message,) = check_databases(databases=["default"])

    assert (message.id, message.is_serious()) == ("mainspring.W004", False)
    absent = ["finished", "installation", "outbox", "question", "waiter"]
    assert message.msg.endswith(f"has no table {', '.join(f'mainspring_{name}' for name in absent)}.")
    assert "manage.py migrate --database default" in message.hint


@pytest.mark.django_db
def test_more_connections_than_the_server_allows(database_backend):
    """64 processes with 256 threads each are beyond every server of the tests, but SQLite sets no limit."""
    database_backend.TASKS = {"default": {"BACKEND": DATABASE, "OPTIONS": {"processes": 64, "threads": 256}}}
    messages = check_databases(databases=["default"])

    if connections["default"].vendor == "sqlite":
        assert messages == []
    else:
        (message,) = messages
        assert message.id == "mainspring.W002"
        assert "may need 32834 connections" in message.msg


@pytest.mark.django_db
def test_wrong_options_do_not_break_the_databases_check(database_backend):
    database_backend.TASKS = {"default": {"BACKEND": DATABASE, "OPTIONS": {"threads": "many"}}}

    assert check_databases(databases=["default"]) == []


# Where they are hooked in.


@pytest.mark.django_db(databases=["default", "other"])
def test_django_runs_them(database_backend, monkeypatch):
    """`manage.py check` asks the backends, `check --database default` the databases too."""
    database_backend.TASKS = {"default": {"BACKEND": DATABASE, "OPTIONS": {"on_commit": True}}}
    monkeypatch.setattr(connections["default"].introspection, "table_names", lambda cursor: [])

    assert "mainspring.W003" in {message.id for message in run_checks()}
    assert "mainspring.W004" in {message.id for message in run_checks(databases=["default"])}


def test_the_reference_lists_every_check():
    """docs/reference/checks.md and the code know the same ids."""
    ids = set(re.findall(r"mainspring\.[EW]\d{3}", Path(checks.__file__).read_text()))

    assert set(re.findall(r"^\| `(mainspring\.[EW]\d{3})` \|", PAGE.read_text(), re.MULTILINE)) == ids
