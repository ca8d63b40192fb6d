"""Files and names of the jobs around backups. Pure: no Pulumi."""

from pathlib import Path

_SCRIPTS = Path(__file__).resolve().parent / "scripts"

CONFIG = "backup-scripts"
# A backup that has not ended by then is given up; the next one follows.
BACKUP_DEADLINE_SECONDS = 2 * 3600
RESTORE_TEST_DEADLINE_SECONDS = 2 * 3600
# How late a run may start, after an outage of the control plane for example.
START_WITHIN_SECONDS = 1800


def scripts() -> dict[str, str]:
    """Every file of the jobs' ConfigMap, by its name."""
    return {path.name: path.read_text() for path in sorted(_SCRIPTS.iterdir())}
