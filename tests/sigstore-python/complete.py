"""Checks that requirements.txt is a complete lock: everything that a locked package requires, its extras too, is locked in
a version that it accepts. Nothing is resolved when the lock is installed, so nothing else would notice.

Run by the interpreter of the virtual environment that the lock was installed in; asks no network.
"""

import sys
from importlib import metadata
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent


def locked():
    """The locked versions by name."""
    lines = (FOLDER / "requirements.txt").read_text().splitlines()
    pins = [line.split()[0].split("==") for line in lines if "==" in line and not line.startswith((" ", "#"))]
    return {canonicalize_name(name): version for name, version in pins}


def required(wanted, seen):
    """Everything that `wanted` leads to, by breadth-first search: a requirement and what has it."""
    while wanted:
        requirement, by = wanted.pop(0)
        yield requirement, by
        name = canonicalize_name(requirement.name)
        for extra in ["", *sorted(requirement.extras)]:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                texts = metadata.requires(requirement.name) or []
            except metadata.PackageNotFoundError:
                continue
            for text in texts:
                inner = Requirement(text)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    wanted.append((inner, requirement.name))


def main():
    pins = locked()
    lines = [line.split("#")[0].strip() for line in (FOLDER / "requirements.in").read_text().splitlines()]
    wanted = [(Requirement(line), "requirements.in") for line in lines if line]
    faults, reached = [], set()
    for requirement, by in required(wanted, set()):
        name = canonicalize_name(requirement.name)
        reached.add(name)
        version = pins.get(name)
        if version is None:
            faults.append(f"{by} requires {requirement}, which is not locked")
        elif not requirement.specifier.contains(version, prereleases=True):
            faults.append(f"{by} requires {requirement}, and {version} is locked")
        elif metadata.version(requirement.name) != version:
            faults.append(f"{requirement.name} {metadata.version(requirement.name)} is installed, {version} is locked")
    faults += [f"{name} is locked, and nothing requires it" for name in sorted(pins.keys() - reached)]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


sys.exit(main())
