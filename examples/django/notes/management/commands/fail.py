"""A task that fails: `manage.py fail 7` exits with 7."""
import sys

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Exits with the code given."

    def add_arguments(self, parser):
        parser.add_argument("code", type=int)

    def handle(self, *args, **options):
        self.stderr.write("failing as asked")
        sys.exit(options["code"])
