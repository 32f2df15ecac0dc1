"""How cores are shared: every machine gets at least one reader, and a container's quota counts."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from alumnus.data.cores import MOST_WORKERS, count_cores, pick_workers


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("processes", [1, 3, 8])
def test_every_process_reads(device: str, processes: int) -> None:
    """Whatever the machine; and more cores never mean fewer readers."""
    readers = [pick_workers(device, processes=processes, cores=cores) for cores in range(1, 200)]
    for before, after in itertools.pairwise(readers):
        assert 1 <= before <= after <= MOST_WORKERS


def test_a_gpu_leaves_the_cores_to_the_readers() -> None:
    """All but the one that launches its work."""
    assert [pick_workers("cuda", cores=cores) for cores in (1, 2, 8, 64)] == [1, 1, 7, MOST_WORKERS]


def test_on_a_cpu_half_of_the_cores_read() -> None:
    """And both of two."""
    assert [pick_workers("cpu", cores=cores) for cores in (1, 2, 8, 64)] == [1, 2, 4, MOST_WORKERS]


def test_processes_of_one_machine_share_its_cores() -> None:
    """Eight of them on 64 cores have 8 each."""
    assert pick_workers("cuda", cores=64, processes=8) == pick_workers("cuda", cores=8)
    assert pick_workers("cpu", cores=64, processes=8) == pick_workers("cpu", cores=8)


def test_a_quota_of_the_container_counts(tmp_path: Path) -> None:
    """Of cgroup 2 and 1, rounded up; none, or one that cannot be read, changes nothing."""
    free = count_cores(tmp_path)
    assert free >= 1
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert count_cores(tmp_path) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert count_cores(tmp_path) == free
    (tmp_path / "cpu.max").write_text("broken\n")
    assert count_cores(tmp_path) == free
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert count_cores(tmp_path) == 1
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert count_cores(tmp_path) == free
