"""Processes know which of how many they are, by flags or from the job that they join."""

import subprocess
import sys

import pytest

from prism_jax.distributed import DistributedConfig


def test_an_index_outside_the_count_is_refused():
    with pytest.raises(ValueError, match="process 2 of 2 is not one; use an index from 0 to count - 1"):
        DistributedConfig(count=2, index=2)


def test_a_single_process_joins_nothing():
    assert DistributedConfig(count=3, index=1).initialize() == DistributedConfig(count=3, index=1)


def test_a_cluster_that_is_not_there_is_refused():
    code = "from prism_jax.distributed import DistributedConfig; DistributedConfig(coordinator='cluster').initialize()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "ValueError: cannot join the processes of 'cluster'" in ended.stderr
