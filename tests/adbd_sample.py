"""The device's end of adb on loopback, for the real client: a stand-in for adbd, which exists on Android only.

It knows version 1 of the protocol over TCP (AOSP, adb/protocol.txt: CNXN, OPEN, OKAY, WRTE, CLSE, one WRTE under way on each stream) and
one service, ``shell,v2`` (AOSP, adb/shell_protocol.h: an id byte, a length, data). It is no Android: no authentication, no properties.

``python adbd_sample.py PORT WRAPPER`` runs commands as ``WRAPPER COMMAND``; SIGUSR1 drops all connections.
"""
from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

from endpoint_sample import Endpoint, answers, free_port, needs, wait_for

BANNER = b"device::ro.product.name=standin;ro.product.model=standin;ro.product.device=standin;features=shell_v2,cmd"
VERSION, MAX_DATA = 0x01000000, 256 * 1024
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


class Stream:
    """One command: what the client sends comes through ``arrived``, an OKAY through ``acknowledged``."""

    def __init__(self, link: Link, here: int, there: int) -> None:
        self.link, self.here, self.there = link, here, there
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self.acknowledged = asyncio.Event()
        self.turn = asyncio.Lock()
        self.open = True

    async def write(self, kind: int, data: bytes) -> None:
        async with self.turn:
            if self.open:
                self.acknowledged.clear()
                await self.link.send(b"WRTE", self.here, self.there, struct.pack("<BI", kind, len(data)) + data)
                await self.acknowledged.wait()

    async def run(self, command: str) -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            self.link.wrapper, command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        assert process.stdin and process.stdout and process.stderr
        fed = asyncio.create_task(self._feed(process.stdin))
        await asyncio.gather(self._pump(process.stdout, STDOUT), self._pump(process.stderr, STDERR))
        await self.write(EXIT, bytes([await process.wait() & 255]))
        fed.cancel()
        if self.open:
            self.open = False
            await self.link.send(b"CLSE", self.here, self.there)

    async def _pump(self, source: asyncio.StreamReader, kind: int) -> None:
        while self.open and (data := await source.read(65_536)):
            await self.write(kind, data)

    async def _feed(self, stdin: asyncio.StreamWriter) -> None:
        """Packets may be cut anywhere between two WRTE. No data: the client closed the stream."""
        waiting = b""
        with contextlib.suppress(ConnectionError):
            while data := await self.arrived.get():
                waiting += data
                while len(waiting) >= 5 and len(waiting) >= 5 + (size := struct.unpack_from("<I", waiting, 1)[0]):
                    kind, content, waiting = waiting[0], waiting[5 : 5 + size], waiting[5 + size :]
                    if kind == STDIN:
                        stdin.write(content)
                        await stdin.drain()
                    elif kind == CLOSE_STDIN:
                        stdin.close()
        stdin.close()


class Link:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wrapper: str) -> None:
        self.reader, self.writer, self.wrapper = reader, writer, wrapper
        self.streams: dict[int, Stream] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        code = int.from_bytes(command, "little")
        with contextlib.suppress(ConnectionError):
            self.writer.write(struct.pack("<6I", code, first, second, len(data), sum(data) & 0xFFFFFFFF, code ^ 0xFFFFFFFF) + data)
            await self.writer.drain()

    async def serve(self) -> None:
        try:
            while True:
                code, first, second, size, _, _ = struct.unpack("<6I", await self.reader.readexactly(24))
                data = await self.reader.readexactly(size)
                await self._handle(code.to_bytes(4, "little"), first, second, data)
        except (asyncio.IncompleteReadError, ConnectionError):
            for stream in self.streams.values():
                self._end(stream)
        finally:
            self.writer.close()

    async def _handle(self, command: bytes, there: int, here: int, data: bytes) -> None:
        stream = self.streams.get(here)
        if command == b"CNXN":
            await self.send(b"CNXN", VERSION, MAX_DATA, BANNER)
        elif command == b"OPEN":
            service, _, text = data.rstrip(b"\0").decode("utf-8", "surrogateescape").partition(":")
            words = service.split(",")
            if words[0] != "shell" or "v2" not in words:
                await self.send(b"CLSE", 0, there)
                return
            stream = self.streams[len(self.streams) + 1] = Stream(self, len(self.streams) + 1, there)
            await self.send(b"OKAY", stream.here, there)
            task = asyncio.create_task(stream.run(text))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif command == b"WRTE" and stream:
            stream.arrived.put_nowait(data)
            await self.send(b"OKAY", here, there)
        elif command == b"OKAY" and stream:
            stream.acknowledged.set()
        elif command == b"CLSE" and stream:
            if stream.open:
                await self.send(b"CLSE", here, there)
            self._end(stream)

    def _end(self, stream: Stream) -> None:
        stream.open = False
        stream.acknowledged.set()
        stream.arrived.put_nowait(b"")


async def main(port: int, wrapper: str) -> None:
    links: list[Link] = []

    def drop() -> None:
        for link in links:
            link.writer.transport.abort()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        links.append(Link(reader, writer, wrapper))
        await links[-1].serve()

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, drop)
    async with await asyncio.start_server(accept, "127.0.0.1", port) as server:
        await server.serve_forever()


class Adbd(Endpoint):
    """The stand-in and a server of the real client's, on ports of their own."""

    kind = "adb"

    def __init__(self, root: Path) -> None:
        needs("adb")
        super().__init__(root)
        self.port, self.server_port = free_port(), free_port()
        self.serial = f"127.0.0.1:{self.port}"
        self.address = f"adb:{self.serial}"
        nothing = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        self._log = (root / "log").open("wb")
        here = [sys.executable, str(Path(__file__).resolve()), str(self.port), str(self.wrapper)]
        self._daemon = subprocess.Popen(here, stderr=self._log, start_new_session=True, **nothing)
        server = ["adb", "-P", str(self.server_port), "nodaemon", "server"]
        env = {**os.environ, "HOME": str(root), "ADB_LOCAL_TRANSPORT_MAX_PORT": "5550"}  # looks for no emulators
        self._server = subprocess.Popen(server, stderr=self._log, start_new_session=True, env=env, **nothing)
        try:
            wait_for(lambda: answers(self.port) and answers(self.server_port))
            self.ready()
        except BaseException:
            self.stop()
            raise

    def adb(self, *words: str) -> str:
        env = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(self.server_port)}
        return subprocess.run(["adb", *words], env=env, capture_output=True, text=True, timeout=20, check=False).stdout

    def ready(self) -> None:
        def connected() -> bool:
            self.adb("connect", self.serial)
            return self.adb("-s", self.serial, "get-state").strip() == "device"

        wait_for(connected)

    def cut(self) -> None:
        self._daemon.send_signal(signal.SIGUSR1)

    def stop(self) -> None:
        for process in (self._server, self._daemon):
            process.kill()
            process.wait()
        self._log.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
