"""The driver: configuration, rows, distributed evaluation, statistics, search, gate, tracking and report."""

import sys

import udfs
from engine.origin import check_origin

check_origin(sys.modules[__name__], udfs)
