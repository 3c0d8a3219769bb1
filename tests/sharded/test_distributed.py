"""Two processes form one job."""

import socket
import subprocess
import sys

JOIN = """
import sys
from prism_jax.distributed import DistributedConfig
found = DistributedConfig(count=2, index=int(sys.argv[1]), coordinator=sys.argv[2]).initialize()
import jax
print(found.count, found.index, jax.process_count(), len(jax.local_devices()), jax.device_count())
"""


def test_two_processes_form_one_job():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    start = lambda i: subprocess.Popen([sys.executable, "-c", JOIN, str(i), address], stdout=subprocess.PIPE, text=True)
    processes = [start(i) for i in range(2)]
    told = [process.communicate(timeout=120)[0].split() for process in processes]
    assert told == [["2", str(i), "2", "8", "16"] for i in range(2)]
