"""
Raise storms against the worker and check every promise; exit with 1 if one was broken.

    python -m tests.torture --store postgresql --scenario group --scenario mixed --minutes 1
"""

import argparse
import os
import sys

STORES = ("sqlite", "postgresql", "mariadb", "redis")


def main() -> int:
    options = read_arguments()
    prepare(options.store)
    from tests.torture import report
    from tests.torture.checker import violations

    broken = []
    print(f"{options.store}: {options.commands} commands of 2 processes, {options.minutes:g} minutes each\n")
    print(report.HEAD, flush=True)
    for scenario in options.scenario:
        outcome = storm(scenario, options)
        print(report.line(outcome), flush=True)
        found = violations(outcome)
        broken += [report.story(found, outcome)] if found else []
    print(*broken, sep="\n\n")
    return 1 if broken else 0


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=STORES, default="sqlite")
    parser.add_argument("--scenario", action="append", help="may be repeated; `all` is every one; default: mixed")
    parser.add_argument("--minutes", type=float, default=1.0, help="of each storm")
    parser.add_argument("--commands", type=int, default=3, help="worker commands")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.scenario = scenarios(parser, options)
    return options


def scenarios(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[str]:
    known = ["group", "children", "supervisor", "server", "stop", "term", "mixed"]
    for name in options.scenario or []:
        if name not in [*known, "all"]:
            parser.error(f"unknown scenario {name!r}; there is {', '.join(known)} and all")
    chosen = known if "all" in (options.scenario or []) else options.scenario or ["mixed"]
    return [name for name in chosen if name != "server" or options.store != "sqlite"]


def prepare(store: str) -> None:
    os.environ |= {"MAINSPRING_TEST_DB": store, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    import django
    from django.conf import settings
    from django.core.management import call_command

    django.setup()
    if settings.MISSING:
        sys.exit(settings.MISSING)
    call_command("migrate", verbosity=0)


def storm(scenario: str, options: argparse.Namespace):
    from tests import servers
    from tests.torture import rows
    from tests.torture.storm import Storm

    rows.clear()
    return Storm(
        scenario,
        seconds=60 * options.minutes,
        commands=options.commands,
        server=servers.running(options.store),
        seed=options.seed,
    ).run()


if __name__ == "__main__":
    sys.exit(main())
