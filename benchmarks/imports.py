"""CPU seconds that starting takes: importing the package, and help: `python -m benchmarks.imports`.

Medians over processes of their own, of user and system time, so that other work on the machine counts little.
"""

import resource
import statistics
import subprocess
import sys

REPEATS = 5
PRISM = ("-m", "prism_jax")
STARTS = {
    "import prism_jax": ("-c", "import prism_jax"),
    "prism --help": (*PRISM, "--help"),
    "prism configs": (*PRISM, "configs"),
    "prism data build --help": (*PRISM, "data", "build", "--help"),
    "prism edit --help": (*PRISM, "edit", "--help"),
    "prism train finetune --help": (*PRISM, "train", "finetune", "--help"),
}


def main() -> None:
    """Prints the seconds of each."""
    for name, args in STARTS.items():
        seconds = statistics.median(cpu_seconds([sys.executable, *args]) for _ in range(REPEATS))
        print(f"{name:<28} {seconds:.2f}")


def cpu_seconds(command: list[str]) -> float:
    """User and system time of one run of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
