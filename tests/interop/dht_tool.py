"""Runs the `dht` tool under test, or a program in its place, and reads its output."""

import ctypes
import json
import os
import queue
import signal
import subprocess
import threading
import time

BIN = os.environ.get("DHT_BIN", "target/release/dht")
COMMON = ["--no-default-bootstrap", "--allow-private", "--json", "-v"]

# Built by run.sh; without cargo there is none.
PEER = os.environ.get("INTEROP_PEER", "")


class Program:
    """A program to run: words before the command, options after it."""

    def __init__(self, words, options):
        self.words, self.options = words, options

    def line(self, command, args, binds, bootstrap, options=None):
        line = [*self.words, command, *args, *(self.options if options is None else options)]
        for address in binds:
            line += ["--bind", address]
        for address in bootstrap:
            line += ["--bootstrap", address]
        return line


DHT = Program([BIN], COMMON)
# Our node in a tokio task, and a node of the `mainline` crate.
TOKIO = Program([PEER, "tokio"], [])
MAINLINE = Program([PEER, "mainline"], [])

# Commands and output of the tool during the current check, shown if it fails.
journal = []


def die_with_parent():
    """Makes this child process end when the harness is killed."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def start_process(line):
    return subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,
    )


class Result:
    def __init__(self, args, code, stdout, stderr):
        self.args, self.code, self.stdout, self.stderr = args, code, stdout, stderr
        self.events = [json.loads(line) for line in stdout.splitlines() if line.strip()]

    def of(self, kind):
        return [event for event in self.events if event["event"] == kind]

    def peers(self):
        return {event["addr"] for event in self.of("peer")}


def run(
    command, *args, bind=None, bootstrap=(), timeout=20, deadline=40, options=None, program=DHT
):
    """Runs one command to its end."""
    line = program.line(command, args, [bind] if bind else [], bootstrap, options)
    if timeout and program is DHT:
        line += ["--timeout", str(timeout)]
    entry = {"args": line, "code": "still running", "stdout": "", "stderr": ""}
    journal.append(entry)
    process = start_process(line)
    try:
        entry["stdout"], entry["stderr"] = process.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        process.kill()
        entry["stdout"], entry["stderr"] = process.communicate()
        raise AssertionError(f"`{command}` had not ended after {deadline} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    entry["code"] = process.returncode
    return Result(line, process.returncode, entry["stdout"], entry["stderr"])


class Running:
    """A command that stays: `dht node`, or `dht announce --keep`."""

    def __init__(self, command, *args, binds, bootstrap=(), start=10, program=DHT):
        line = program.line(command, args, binds, bootstrap)
        self.entry = {"args": line, "code": "still running", "stdout": "", "stderr": ""}
        journal.append(self.entry)
        self.process = start_process(line)
        self.events = queue.Queue()
        self.readers = [
            threading.Thread(target=self._read_stdout, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for reader in self.readers:
            reader.start()
        try:
            listening = [self.wait_for("listening", start) for _ in binds]
        except BaseException:
            self.stop()
            raise
        self.addrs = [event["addr"] for event in listening]
        self.addr = self.addrs[0]
        self.id = listening[0]["id"]

    def _read_stdout(self):
        for line in self.process.stdout:
            self.entry["stdout"] += line
            try:
                self.events.put(json.loads(line))
            except ValueError:
                self.events.put({"event": "not JSON", "line": line})
        self.events.put(None)

    def _read_stderr(self):
        for line in self.process.stderr:
            self.entry["stderr"] = (self.entry["stderr"] + line)[-20000:]

    def wait_for(self, kind, seconds):
        end = time.monotonic() + seconds
        while True:
            try:
                event = self.events.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {kind!r} event after {seconds} s") from None
            if event is None:
                raise AssertionError(f"ended before a {kind!r} event")
            assert event["event"] != "not JSON", f"not JSON: {event}"
            if event["event"] == kind:
                return event

    def stop(self, seconds=5):
        """Ends the command with SIGTERM; returns the exit code, or None if it had to be killed."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                self.entry["code"] = "killed"
                return None
        for reader in self.readers:
            reader.join(1)
        self.entry["code"] = self.process.returncode
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def node(*binds, bootstrap=(), options=(), program=DHT):
    return Running("node", *options, binds=binds, bootstrap=bootstrap, program=program)
