"""Performs the steps of the Dockerfile without Docker: python -m deploy.proof.

Reads the Dockerfile itself: installs the requirements into a fresh virtual environment (or borrows
one: --site-packages FOLDER), copies what the image copies, takes away write permission, starts the
image's command as its user with its environment, without a network where the system allows that,
and runs its health check. Ends with status 0 when all of that worked.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STATE, PATIENCE = re.compile(r'"status":\s*"(\w+)"'), 400.0


@dataclass
class Stage:
    """One stage of a Dockerfile. copies: (sources, target) from the context."""

    copies: list[tuple[list[str], str]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    user: str = "root"
    command: list[str] = field(default_factory=list)
    check: list[str] = field(default_factory=list)


def stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile of the kind this project has."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"(?m)^\s*#.*\n", "", text))
    found: list[Stage] = []
    for line in (ln.strip() for ln in joined.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append(Stage())
        elif word == "COPY" and not rest.startswith("--from"):
            *sources, target = [p for p in shlex.split(rest) if not p.startswith("--")]
            found[-1].copies.append((sources, target))
        elif word == "ENV":
            found[-1].env |= dict(p.split("=", 1) for p in shlex.split(rest))
        elif word == "ARG":
            name, _, value = rest.partition("=")
            found[-1].arguments[name] = value
        elif word == "RUN":
            found[-1].runs.append(rest)
        elif word == "USER":
            found[-1].user = rest
        elif word == "CMD":
            found[-1].command = json.loads(rest)
        elif word == "HEALTHCHECK":
            found[-1].check = json.loads(rest.partition("CMD ")[2])
    return found


def ignored(path: str, rules: list[str]) -> bool:
    """Whether .dockerignore leaves a path (from the root) out; the last rule that fits decides."""
    out = False
    for rule in rules:
        keep, pattern = rule.startswith("!"), rule.lstrip("!").strip("/")
        parents = [path, *(str(p) for p in Path(path).parents if str(p) != ".")]
        names = [n for p in parents for n in (p, Path(p).name if pattern.startswith("**/") else p)]
        if any(fnmatch.fnmatchcase(n, pattern.removeprefix("**/")) for n in names):
            out = not keep
    return out


def copy_context(stage: Stage, app: Path) -> int:
    """What the image copies, without what .dockerignore leaves out; returns how many files."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line.strip() and not line.startswith("#")]
    count = 0
    for sources, target in stage.copies:
        for source in sources:
            root = ROOT / source
            for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
                name = str(file.relative_to(ROOT))
                if not file.is_file() or ignored(name, rules):
                    continue
                inside = (Path(target) / file.relative_to(root) if root.is_dir()
                          else Path(target) / file.name)
                (app / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, app / inside)
                count += 1
    return count


def interpreter(work: Path) -> str:
    """A Python that the image's user can run: a copy, where this one lies in a private home."""
    base = Path(sys.base_prefix)
    if all(p.stat().st_mode & 0o005 == 0o005 for p in (base, *base.parents)):
        return sys.executable
    shutil.copytree(base, work / "python", symlinks=True, ignore=shutil.ignore_patterns(
        "site-packages", "test", "tests", "__pycache__", "*.a", "share"))
    (work / "python/lib" / f"python3.{sys.version_info[1]}" / "site-packages").mkdir()
    return str(work / "python" / "bin" / "python3")


def install(venv: Path, stage: Stage, borrowed: Path | None) -> None:
    """The virtual environment of the first stage, or a new one that reads another's packages."""
    subprocess.run([interpreter(venv.parent), "-m", "venv", str(venv)], check=True)
    if borrowed is not None:
        found = next(iter(sorted(borrowed.glob("lib/python*/site-packages"))), borrowed)
        here = next(venv.glob("lib/python*/site-packages"))
        (here / "borrowed.pth").write_text(f"{found}\n", encoding="utf-8")
        return
    pip = next(run for run in stage.runs if "torch.txt" in run)
    index = os.environ.get("TORCH_INDEX", stage.arguments["TORCH_INDEX"])
    work = venv / "build"
    work.mkdir()
    shutil.copyfile(ROOT / "requirements.txt", work / "requirements.txt")
    subprocess.run(["bash", "-euo", "pipefail", "-c", pip], check=True, cwd=work, env={
        **os.environ, **stage.env, "TORCH_INDEX": index,
        "PATH": f"{venv}/bin:{os.environ['PATH']}"})
    shutil.rmtree(work)


def lock(folder: Path) -> None:
    """Nobody may write: the image's root is mounted read-only."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)


def loopback() -> None:
    """Brings lo up in a fresh network namespace."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sh", b"lo", 1 | 64))


def alone() -> bool:
    """Whether there is no network but loopback."""
    return [name for _, name in socket.if_nameindex()] == ["lo"]


def start(stage: Stage, work: Path, user: int | None, port: int) -> subprocess.Popen[bytes]:
    places = {"/tmp": str(work / "tmp"), "/venv": str(work / "venv"), "/app": str(work / "app")}

    def here(value: str) -> str:
        for place, instead in places.items():
            value = re.sub(rf"(?<![\w./-]){place}(?=[/:]|$)", instead, value)
        return value

    env = {name: here(value) for name, value in stage.env.items()}
    env["PATH"] = env["PATH"].replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
    env |= {"GRADIO_SERVER_PORT": str(port), "TMPDIR": str(work / "tmp")}
    if (work / "python").is_dir():  # its library, too, lies where the user may not look
        env["LD_LIBRARY_PATH"] = str(work / "python" / "lib")
    command = [shutil.which(stage.command[0], path=env["PATH"]) or stage.command[0],
               *stage.command[1:]]
    return subprocess.Popen(command, cwd=work / "app", env=env, user=user,
                            group=user, extra_groups=[] if user else None)


def prove(work: Path, borrowed: Path | None, port: int) -> None:
    first, last = stages((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    say(f"environment ({'borrowed packages' if borrowed else 'pip install'}) ...")
    install(work / "venv", first, borrowed)
    say(f"{copy_context(last, work / 'app')} files copied")
    (work / "tmp").mkdir(mode=0o777)
    (work / "tmp").chmod(0o777)
    lock(work / "app")
    lock(work / "venv")
    work.chmod(0o755)  # mkdtemp lets nobody else in
    user = int(last.user) if os.geteuid() == 0 else None
    say(f"starting as user {user if user is not None else os.geteuid()}, code read-only, "
        f"{'no network' if alone() else 'network left as it is'}")
    process = start(last, work, user, port)
    try:
        wait(process, port)
        library = {"LD_LIBRARY_PATH": str(work / "python" / "lib")}
        check = [part.replace(":7860/", f":{port}/") for part in last.check]
        subprocess.run([str(work / "venv" / "bin" / check[0]), *check[1:]], check=True,
                       env={**os.environ, **library})
        say("its health check passes")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as page:
            assert b"gradio_config" in page.read()
        say("its page is served")
        written = [p for p in (work / "app").rglob("*") if p.stat().st_mode & 0o222]
        assert not written, f"something became writable: {written[:3]}"
        if user is not None:
            denied = subprocess.run(["touch", str(work / "app" / "x")], user=user, group=user,
                                    extra_groups=[], stderr=subprocess.DEVNULL)
            assert denied.returncode, "the app's user can write into its code"
            say("its user cannot write into its code")
    finally:
        process.terminate()
        ended = process.wait(120)
    say(f"it ends when told to, with status {ended}")


def wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline, said = time.monotonic() + PATIENCE, ""
    while said != "ok":
        assert process.poll() is None, f"the app ended with status {process.returncode}"
        assert time.monotonic() < deadline, f"/health says '{said}' after {PATIENCE:.0f} s"
        time.sleep(1)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as got:
                match = STATE.search(got.read().decode())
                said = match[1] if match else ""
        except OSError:
            continue
    say("/health says ok: the embedded models are open")


def say(words: str) -> None:
    print(f"docker-proof: {words}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site-packages", type=Path, help="an installed environment to borrow")
    parser.add_argument("--port", type=int, default=7986)
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.apart:
        loopback()
    elif args.site_packages and os.geteuid() == 0 and subprocess.run(
            ["unshare", "--net", "true"], stderr=subprocess.DEVNULL).returncode == 0:
        return subprocess.call(["unshare", "--net", sys.executable, "-m", "deploy.proof", "--apart",
                                *sys.argv[1:]], cwd=ROOT)
    borrowed = args.site_packages.resolve() if args.site_packages else None
    work = Path(tempfile.mkdtemp(prefix="docker-proof-"))
    try:
        prove(work, borrowed, args.port)
    except (AssertionError, OSError, subprocess.CalledProcessError) as error:
        say(f"FAILED: {error}")
        return 1
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(work)], check=False)
        shutil.rmtree(work, ignore_errors=True)
    say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
