"""A client for tcpkit in one file: Python 3.8 or newer, and nothing but the standard library.

    client = Client.connect("127.0.0.1", 5001, name="alice")
    client.confirm(client.send("hello"), timeout=5)
    print(client.receive(timeout=5))
    client.close()

Read it beside PROTOCOL.md, whose sections 6 to 9 it leaves out. It has no thread: the call that
waits reads, and keeps what is for others. As a program it chats: python3 tcpkit.py HOST:PORT [NAME]
"""
import contextlib
import functools
import io
import select
import socket
import sys
import time

KINDS = {  # section 2; `text` and `detail` are a `rest` of UTF-8, but `detail` may have bad bytes
    0x01: ("Init", "magic:6 version:u8 session:16 received:u64 name:str timezone:str token:str"),
    0x02: ("InitAck", "version:u8 mode:u8 flags:u8 session:16 seen:u64 head:u64 missed:u64"
                      " frame_max:u32 grace_ms:u32 name:str"),
    0x03: ("Terminate", "reason:u8 retry_after_ms:u32 detail:detail"),
    0x04: ("TerminateAck", ""),
    0x05: ("Error", "code:u8 detail:detail"),
    0x08: ("Ping", "nonce:u64"),
    0x09: ("Pong", "nonce:u64"),
    0x10: ("Text", "id:u64 body:text"),
    0x11: ("Bytes", "id:u64 body:rest"),
    0x13: ("Direct", "id:u64 to:str body:text"),
    0x18: ("Status", "id:u64 code:u8 detail:detail"),
    0x20: ("RelayedText", "seq:u64 time_ms:u64 from:str body:text"),
    0x21: ("RelayedBytes", "seq:u64 time_ms:u64 from:str body:rest"),
    0x22: ("Joined", "seq:u64 time_ms:u64 name:text"),
    0x23: ("Left", "seq:u64 time_ms:u64 reason:u8 name:text"),
    0x24: ("RelayedDirect", "seq:u64 time_ms:u64 from:str body:text"),
    0x28: ("Present", "total:u32 names:strs"),
    **dict.fromkeys([0x25, 0x26, 0x30, 0x31, 0x41, 0x44, 0x45, *range(0x80, 256)], ("Skipped", "")),
}
NUMBERS = {kind: number for number, (kind, _) in KINDS.items()}
FIELDS = {kind: [field.split(":") for field in fields.split()] for kind, fields in KINDS.values()}
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "6": 6, "16": 16}  # a `str` tells its own


class Refused(Exception):
    """The server refused one message, and the dialogue goes on: id, code (section 2), detail."""


def encode(kind: str, *values) -> bytes:
    """The bytes of one frame (section 1), from its fields in the order of the table."""
    frame = bytes([NUMBERS[kind]])
    for (_, form), value in zip(FIELDS[kind], values):
        data = value.encode() if isinstance(value, str) else value
        frame += len(data).to_bytes(2, "big") if form == "str" else b""
        frame += data.to_bytes(SIZES[form], "big") if isinstance(data, int) else data
    return len(frame).to_bytes(4, "big") + frame


def next_frame(buffer: bytearray, frame_max: int) -> "dict | None":
    """Takes the first frame out of the buffer, as a dict; None while it is not whole."""
    length = int.from_bytes(buffer[:4], "big")
    if len(buffer) >= 4 and not 1 <= length <= frame_max:
        return {"kind": "Violation", "code": 2 if length else 1, "detail": f"length {length}"}
    if len(buffer) < max(5, 4 + length):
        return None
    number, payload = buffer[4], io.BytesIO(buffer[5:4 + length])
    del buffer[:4 + length]
    kind, _ = KINDS.get(number, (f"0x{number:02x}", ""))
    try:
        return {"kind": kind, **{name: take(form, payload) for name, form in FIELDS.get(kind, [])}}
    except ValueError as fault:
        return {"kind": "Violation", "code": 1, "detail": f"{kind}: {fault}"}


def take(form: str, payload: io.BytesIO):  # ValueError: it is cut off, or not UTF-8
    if form == "strs":
        end = len(payload.getbuffer())
        return [take("str", payload) for _ in iter(lambda: payload.tell() < end, False)]
    size = take("u16", payload) if form == "str" else SIZES.get(form, -1)
    data = payload.read(size)
    if len(data) < size:
        raise ValueError("a field is cut off")
    if form in ("str", "text", "detail"):
        return data.decode(errors="replace" if form == "detail" else "strict")
    return int.from_bytes(data, "big") if form[0] == "u" else data


class Client:
    """One session, for one thread. Its end raises ConnectionError, with its frame or its cause."""

    def __init__(self, connected: socket.socket):
        self._socket, self.fileno, self.name, self.frame_max = connected, connected.fileno, "", 4096
        self._incoming, self._outgoing, self._events = bytearray(), bytearray(), []
        self._last_id, self._accepted, self._refused, self._end = 0, 0, {}, None

    @classmethod
    def connect(cls, host: str, port: int, name="", token="", timezone="", timeout=10) -> "Client":
        """Connects and shakes hands (section 3), each within `timeout` seconds."""
        client = cls(socket.create_connection((host, port), timeout))
        client._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client._outgoing += encode("Init", b"tcpkit", 1, bytes(16), 0, name, timezone, token)
        client._until(lambda: client.name, timeout)
        return client

    def _send(self, kind: str, *values) -> int:
        """Sends a message, and returns its id; blocks while the server takes nothing."""
        self._last_id += 1  # without holes (section 4)
        self._outgoing += encode(kind, self._last_id, *values)
        self._until(lambda: not self._outgoing)
        return self._last_id

    send = functools.partialmethod(_send, "Text")  # send(text) -> id
    send_bytes = functools.partialmethod(_send, "Bytes")  # send_bytes(data) -> id
    send_to = functools.partialmethod(_send, "Direct")  # send_to(name, text) -> id

    def confirm(self, id: int, timeout: "float | None" = None) -> None:
        """Waits until a message is accepted; Refused if it is not."""
        self._until(lambda: id in self._refused or id <= self._accepted, timeout)
        if id in self._refused:
            raise self._refused[id]

    def receive(self, timeout: "float | None" = None) -> "dict | None":
        """The next relayed message, Joined, Left or Present; None if none came in time."""
        with contextlib.suppress(TimeoutError):
            self._until(lambda: self._events, timeout)
        return self._events.pop(0) if self._events else None

    def close(self, last: bytes = encode("Terminate", 0, 0, "")) -> None:
        """Says the last word (section 10), and drops what comes until the server closes too."""
        self._end = self._end or ConnectionError("closed by this side")
        with self._socket, contextlib.suppress(OSError):
            self._socket.settimeout(5)
            self._socket.sendall(self._outgoing + last)
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(65536):
                pass

    def _until(self, done, timeout: "float | None" = None) -> None:
        """Writes what is to be written, and takes what comes, until `done()`."""
        deadline = time.monotonic() + (1e7 if timeout is None else timeout)
        while not done() or self._outgoing and not self._end:
            if self._end:
                raise self._end
            left = max(0, deadline - time.monotonic())
            readable, writable, _ = select.select([self], [self] * bool(self._outgoing), [], left)
            if not readable and not writable:
                raise TimeoutError("the server does not answer")
            if readable:
                self._take_in(self._socket.recv(65536))
            if writable and not self._end:
                del self._outgoing[:self._socket.send(self._outgoing)]

    def _take_in(self, data: bytes) -> None:
        if not data:
            raise ConnectionError("the server closed the connection")
        self._incoming += data
        for frame in iter(lambda: next_frame(self._incoming, self.frame_max), None):
            kind, code, detail = frame["kind"], frame.get("code", 3), frame.get("detail", "")
            if kind == "InitAck":
                self.name, self.frame_max = frame["name"], frame["frame_max"]
            elif kind == "Ping":
                self._outgoing += encode("Pong", frame["nonce"])
            elif kind == "Status" and code == 0:
                self._accepted = max(self._accepted, frame["id"])
            elif kind == "Status":
                self._refused[frame["id"]] = Refused(frame["id"], code, detail)
            elif "seq" in frame or kind == "Present":
                self._events.append(frame)
            elif kind not in ("Pong", "TerminateAck", "Skipped"):
                self._end = ConnectionError(frame)
                answers = {"Terminate": encode("TerminateAck"), "Error": b""}
                return self.close(answers.get(kind, encode("Error", code, detail)))


def main(address: str, name: str = "") -> None:
    """A chat until stdin ends; what could harm a terminal is escaped."""
    host, _, port = address.rpartition(":")
    client = Client.connect(host.strip("[]"), int(port), name)
    print(f"connected to {address} as {client.name!r}", flush=True)
    while True:
        for event in iter(lambda: client.receive(timeout=0), None):
            who = event.get("from") or event.get("name") or ", ".join(event["names"])
            text = f"{who}: {event['body']}" if "body" in event else f"* {event['kind']}: {who}"
            print("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text), flush=True)
        if sys.stdin in select.select([client, sys.stdin], [], [])[0]:
            line = sys.stdin.buffer.raw.readline()  # select() sees nothing of a buffer
            if not line:
                return client.close()
            try:
                client.confirm(client.send(line.decode().rstrip("\r\n")))
            except Refused as refused:
                print("refused:", refused, file=sys.stderr)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (KeyboardInterrupt, OSError, TypeError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
