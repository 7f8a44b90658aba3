"""What the documentation says a step costs in bytes, counted."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_documented_bytes_do_not_depend_on_the_number_of_logits(tmp_path: Path) -> None:
    """The table is of a million logits a worker; a thousand communicate as much."""
    command = [sys.executable, ROOT / "benchmarks" / "communication.py", "--n", "1000"]
    plain = os.environ | {"RANKGRAD_BACKEND": "reference"}  # nothing to compile
    subprocess.run([*command, "--json", tmp_path / "bytes.json"], env=plain, check=True)
    counted = json.loads((tmp_path / "bytes.json").read_text())
    page = (ROOT / "docs" / "workers.md").read_text()
    table = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([\d,]+) \| ([\d,]+) \|$", page, re.MULTILINE)
    assert len(table) == len(counted["bytes"]) == 5
    assert counted["workers"] == 4
    for (loss, part, *said), (name, found) in zip(table, counted["bytes"].items(), strict=True):
        assert name.startswith(loss)
        sizes = part.replace("1,000,000", "1,000")
        assert re.sub(" (features|embeddings)$", "", sizes) in name
        assert [int(number.replace(",", "")) for number in said] == list(found.values())
