"""Volumes under changed settings: what the hook of the engine is told, and what it refuses."""

import pytest

from components.storage import refuse_other_volumes


@pytest.mark.parametrize("wanted", ["100Gi kept", "101Gi kept", "1Ti kept", "107374182400 kept"])
def test_the_same_size_and_a_larger_one_pass(wanted: str) -> None:
    refuse_other_volumes("postgres.storage", "100Gi kept", wanted)


def test_a_smaller_size_and_another_class_are_refused_with_the_key_the_value_and_the_remedy() -> None:
    smaller = r"^postgres.storage: a volume cannot shrink. Got '102399Mi'. Fix: 100Gi, as deployed, or .*volumes.md"
    with pytest.raises(ValueError, match=smaller):
        refuse_other_volumes("postgres.storage", "100Gi kept", "102399Mi kept")
    other = r"^cluster.storageClass: the volumes of redis.storage exist. Got 'other'. Fix: kept"
    with pytest.raises(ValueError, match=other):
        refuse_other_volumes("redis.storage", "20Gi kept", "20Gi other")
