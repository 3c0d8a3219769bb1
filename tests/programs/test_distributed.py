"""Processes know which of how many they are, by flags or from the job that they join."""

import socket
import subprocess
import sys

import pytest

from prism_jax.distributed import DistributedConfig

JOIN = """
import sys
from prism_jax.distributed import DistributedConfig
found = DistributedConfig(count=2, index=int(sys.argv[1]), coordinator=sys.argv[2]).initialize()
import jax
print(found.count, found.index, jax.process_count(), len(jax.local_devices()), jax.device_count())
"""


def test_an_index_outside_the_count_is_refused():
    with pytest.raises(ValueError, match="process 2 of 2 is not one; use an index from 0 to count - 1"):
        DistributedConfig(count=2, index=2)


def test_a_single_process_joins_nothing():
    assert DistributedConfig(count=3, index=1).initialize() == DistributedConfig(count=3, index=1)


def test_two_processes_form_one_job():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    start = lambda i: subprocess.Popen([sys.executable, "-c", JOIN, str(i), address], stdout=subprocess.PIPE, text=True)
    processes = [start(i) for i in range(2)]
    told = [process.communicate(timeout=120)[0].split() for process in processes]
    assert told == [["2", str(i), "2", "8", "16"] for i in range(2)]


def test_a_cluster_that_is_not_there_is_refused():
    code = "from prism_jax.distributed import DistributedConfig; DistributedConfig(coordinator='cluster').initialize()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "ValueError: cannot join the processes of 'cluster'" in ended.stderr
