"""A clone is the same on every system: the bytes of its files, and names that each file system can hold."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest
from pipeline import REPOSITORY, Project

LONGEST = 200
FORBIDDEN = set('<>:"|?*\\') | {chr(code) for code in range(32)}
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def clone(folder: Path, *options: str) -> dict[str, bytes]:
    """The files of a clone of the last commit, by name."""
    subprocess.run(["git", "clone", "--quiet", *options, str(REPOSITORY), str(folder)], check=True)
    names = subprocess.check_output(["git", "ls-files", "-z"], cwd=folder, encoding="utf-8").split("\0")
    return {name: (folder / name).read_bytes() for name in names if name}


def unfit(path: str) -> str | None:
    """Why Windows could not hold a file of that path, relative to the repository; None if it can."""
    if len(path) > LONGEST:
        return f"longer than {LONGEST} characters"
    for part in PurePosixPath(path).parts:
        if FORBIDDEN & set(part):
            return "a forbidden character"
        if part[-1] in " .":
            return "ends with a space or a dot"
        if part.split(".")[0].rstrip().lower() in RESERVED:
            return "a reserved name"
    return None


def collisions(paths: list[str]) -> list[str]:
    """Those that differ from another one in case only, which macOS and Windows take for the same."""
    seen: dict[str, str] = {}
    return [path for path in paths if seen.setdefault(path.lower(), path) != path]


@pytest.mark.parametrize("line_ends", ["true", "false"])
def test_a_clone_has_the_same_bytes_whatever_git_is_told_about_line_ends(line_ends, tmp_path):
    plain = clone(tmp_path / "plain", "-c", "core.autocrlf=false", "-c", "core.eol=lf")
    other = clone(tmp_path / "other", "-c", f"core.autocrlf={line_ends}", "-c", "core.eol=crlf")
    assert len(plain) > 100
    assert plain.keys() == other.keys()
    assert [name for name in plain if plain[name] != other[name]] == []


@pytest.mark.parametrize(
    "path",
    ["a:b", "a/what?", "a\\b", "tab\t", "a/dot.", "space /b", "con", "a/NUL.txt", "com1.csv", "a" * (LONGEST + 1)],
)
def test_a_name_that_windows_forbids_is_found(path):
    assert unfit(path)


def test_names_that_differ_in_case_only_are_found():
    assert collisions(["a/b", "a/c", "A/b"]) == ["A/b"]


def test_every_system_can_hold_the_names_of_the_repository(tmp_path):
    names = list(clone(tmp_path / "clone"))
    assert {name: unfit(name) for name in names if unfit(name)} == {}
    assert collisions(names) == []


def test_every_system_can_hold_the_names_of_what_the_pipeline_writes(finished: Project):
    paths = (path.relative_to(finished.folder) for path in finished.folder.rglob("*"))
    names = [path.as_posix() for path in paths if path.parts[0] != ".git"]
    assert any(name.startswith("data/replicas/") for name in names)
    assert {name: unfit(name) for name in names if unfit(name)} == {}
    assert collisions(names) == []
