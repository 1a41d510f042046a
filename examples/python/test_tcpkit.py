"""Tests of the Python client against a server that each test plays by itself, frame by frame.

    python3 -m unittest discover examples/python
"""

import socket
import subprocess
import sys
import threading
import unittest
from unittest import mock

import tcpkit
from tcpkit import Client, Refused, encode, next_frame

DEADLINE = 10  # seconds; reached only where a test fails
FRAME_MAX = 1 << 20


class Peer:
    """The server's end of one connection."""

    def __init__(self, connection):
        connection.settimeout(DEADLINE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection, self.incoming, self.send = connection, bytearray(), connection.sendall

    def read(self, kind):
        frame = next_frame(self.incoming, FRAME_MAX)
        while frame is None:
            received = self.connection.recv(65536)
            if not received:
                raise AssertionError(f"{kind} is expected, the end came")
            self.incoming += received
            frame = next_frame(self.incoming, FRAME_MAX)
        if frame["kind"] != kind:
            raise AssertionError(f"{kind} is expected, {frame} came")
        return frame

    def write(self, kind, *values):
        self.send(encode(kind, *values))

    def greet(self, name="alice", frame_max=FRAME_MAX):
        init = self.read("Init")
        self.write("InitAck", 1, 1, 0, b"k" * 16, 0, 1, 0, frame_max, 0, name)
        return init

    def present(self, *names):
        parts = [len(name).to_bytes(2, "big") + name.encode() for name in names]
        self.write("Present", len(names), b"".join(parts))

    def status(self, id, code=0, detail=""):
        self.write("Status", id, code, detail)

    def relay(self, seq, body, kind="RelayedText"):
        self.write(kind, seq, 0, "bob", body)

    def part(self):
        self.read("Terminate")
        self.write("TerminateAck")
        self.expect_end()

    def expect_end(self):
        self.connection.shutdown(socket.SHUT_WR)
        if self.incoming or self.connection.recv(1):
            raise AssertionError("more came than was expected")


class Scripted(unittest.TestCase):
    """A test that plays the server."""

    def serve(self, script):
        """Plays `script(peer)` to the first client in a thread; returns the address."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(DEADLINE)
        faults = []

        def run():
            try:
                with listener:
                    connection, _ = listener.accept()
                with connection:
                    script(Peer(connection))
            except Exception as fault:  # told by the test's own thread
                faults.append(fault)

        def finish():
            thread.join(DEADLINE)
            if faults:
                raise faults[0]
            self.assertFalse(thread.is_alive(), "the server's script is not done")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(finish)
        return listener.getsockname()

    def connect(self, script, **facts):
        client = Client.connect(*self.serve(script), timeout=DEADLINE, **facts)
        self.addCleanup(client.close)
        return client

    def receive(self, client):
        return client.receive(timeout=DEADLINE)

    def assert_ended(self, call, **facts):
        """The call tells that the dialogue was ended, by a frame with those facts."""
        with self.assertRaises(ConnectionError) as caught:
            call()
        frame = caught.exception.args[0]
        self.assertEqual({name: frame[name] for name in facts}, facts)


class Dialogue(Scripted):
    def test_the_handshake_tells_who_is_there_and_close_is_orderly(self):
        inits = []

        def script(peer):
            inits.append(peer.greet(name="alice-2"))
            peer.present("alice", "alice-2")
            peer.part()

        client = self.connect(script, name="alice", token="s3cret", timezone="UTC")
        self.assertEqual(client.name, "alice-2")
        self.assertEqual(self.receive(client)["names"], ["alice", "alice-2"])
        client.close()
        client.close()
        with self.assertRaisesRegex(ConnectionError, "closed by this side"):
            client.send("too late")
        expected = dict(kind="Init", magic=b"tcpkit", version=1, session=bytes(16), received=0,
                        name="alice", timezone="UTC", token="s3cret")
        self.assertEqual(inits, [expected])

    def test_the_limit_is_raised_behind_init_ack_in_the_same_read(self):
        names = ["x" * 60 + str(number) for number in range(100)]

        def script(peer):
            send, parts = peer.send, []
            peer.send = parts.append
            peer.greet()
            peer.present(*names)
            send(b"".join(parts))
            peer.send = send
            peer.part()

        client = self.connect(script)
        self.assertEqual(self.receive(client)["names"], names)
        client.close()

    def test_frames_torn_into_single_bytes_arrive_whole(self):
        def script(peer):
            send = peer.send
            peer.send = lambda wire: [send(bytes([byte])) for byte in wire]
            peer.greet()
            peer.relay(2, "grüße 🦀")
            peer.relay(3, b"\x00\xff", "RelayedBytes")
            peer.part()

        client = self.connect(script)
        self.assertEqual(self.receive(client)["body"], "grüße 🦀")
        self.assertEqual(self.receive(client)["body"], b"\x00\xff")
        client.close()

    def test_messages_are_numbered_and_confirmed(self):
        got = []

        def script(peer):
            peer.greet()
            got.extend(peer.read(kind) for kind in ("Text", "Bytes", "Direct", "Text"))
            peer.status(3, 11, "nobody is called carol")
            peer.status(4)
            peer.status(3)  # a refusal that the server forgot
            peer.part()

        client = self.connect(script)
        ids = [client.send("one"), client.send_bytes(b"\xff"), client.send_to("carol", "three"),
               client.send("four")]
        self.assertEqual(ids, [1, 2, 3, 4])
        for id in (4, 1, 2):
            client.confirm(id, timeout=DEADLINE)
        client.close()
        with self.assertRaises(Refused) as caught:
            client.confirm(3)
        self.assertEqual(caught.exception.args, (3, 11, "nobody is called carol"))
        self.assertEqual([frame["id"] for frame in got], ids)
        self.assertEqual([frame["body"] for frame in got], ["one", b"\xff", "three", "four"])
        self.assertEqual(got[2]["to"], "carol")

    def test_what_has_no_status_has_an_unknown_fate(self):
        def script(peer):
            peer.greet()
            peer.read("Text")
            peer.status(1)
            peer.read("Text")

        client = self.connect(script)
        first, second = client.send("one"), client.send("two")
        client.confirm(first, timeout=DEADLINE)
        with self.assertRaisesRegex(ConnectionError, "the server closed the connection"):
            client.confirm(second, timeout=DEADLINE)
        client.confirm(first)

    def test_waiting_has_an_end_and_loses_nothing(self):
        sent = threading.Event()

        def script(peer):
            peer.greet()
            wire = encode("Joined", 2, 0, "carol")
            peer.send(wire[:7])
            sent.wait(DEADLINE)
            peer.send(wire[7:])
            peer.part()

        client = self.connect(script)
        self.assertIsNone(client.receive(timeout=0.01))
        with self.assertRaises(TimeoutError):
            client.confirm(1, timeout=0)
        sent.set()
        self.assertEqual(self.receive(client)["name"], "carol")
        client.close()

    def test_whoever_waits_answers_pings_and_keeps_what_is_for_others(self):
        def script(peer):
            peer.greet()
            peer.read("Text")
            peer.relay(2, "meanwhile")
            peer.send(b"\x00\x00\x00\x03\x80hi")  # a hint
            peer.write("Ping", 2**64 - 1)
            assert peer.read("Pong")["nonce"] == 2**64 - 1
            peer.status(1)
            peer.part()

        client = self.connect(script)
        client.confirm(client.send("hello"), timeout=DEADLINE)
        self.assertEqual(client.receive(timeout=0)["body"], "meanwhile")
        client.close()

    def test_what_comes_is_taken_also_while_a_message_is_written(self):
        count, body = 16, "x" * 1_000_000  # more in both directions than the system holds

        def script(peer):
            peer.greet()
            for seq in range(count):
                peer.relay(seq, body)
            for _ in range(count):
                peer.read("Text")
            peer.status(count)
            peer.part()

        client = self.connect(script)
        for _ in range(count):
            last = client.send(body)
        client.confirm(last, timeout=DEADLINE)
        self.assertEqual([self.receive(client)["seq"] for _ in range(count)], list(range(count)))
        client.close()

    def test_a_terminate_is_answered_and_told_behind_what_came_before(self):
        def script(peer):
            peer.greet()
            wire = encode("RelayedText", 2, 0, "bob", "last words") + encode("Ping", 1)
            peer.send(wire + encode("Terminate", 1, 500, "back soon"))
            peer.read("Pong")
            peer.read("TerminateAck")
            peer.expect_end()

        client = self.connect(script)
        self.assertEqual(self.receive(client)["body"], "last words")
        for call in (lambda: client.receive(), lambda: client.send("hello")):
            self.assert_ended(call, kind="Terminate", reason=1, detail="back soon")

    def test_an_error_instead_of_init_ack_is_raised(self):
        def script(peer):
            peer.read("Init")
            peer.write("Error", 7, "a token is needed")
            peer.expect_end()

        self.assert_ended(lambda: self.connect(script), kind="Error", code=7,
                          detail="a token is needed")

    def test_a_violation_is_answered_with_error(self):
        for wire, code, kind in (
            (encode("Text", 1, "not for clients"), 3, "Text"),
            (b"\x00\x00\x00\x01\x7f", 3, "0x7f"),
            (b"\x00\x00\x00\x02\x20\x00", 1, "Violation"),
            (b"\x00\x00\x00\x00", 1, "Violation"),
            (b"\xff\xff\xff\xff", 2, "Violation"),
        ):
            def script(peer, wire=wire, code=code):
                peer.greet()
                peer.send(wire)
                assert peer.read("Error")["code"] == code
                peer.expect_end()

            with self.subTest(wire.hex()):
                self.assert_ended(lambda: self.receive(self.connect(script)), kind=kind)

    def test_a_silent_server_does_not_hold_connect(self):
        over = threading.Event()

        def script(peer):
            peer.read("Init")
            over.wait(DEADLINE)

        connected = socket.create_connection(self.serve(script), 0.05)
        with mock.patch("socket.create_connection", return_value=connected), connected:
            with self.assertRaises(TimeoutError):
                Client.connect("", 0, timeout=0.05)
            over.set()


class Program(Scripted):
    def start(self, script, *arguments):
        host, port = self.serve(script)
        address = f"{host}:{port}"
        program = subprocess.Popen(
            [sys.executable, tcpkit.__file__, address, *arguments], encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(program.kill)
        return address, program

    def test_a_line_in_is_sent_and_what_comes_is_a_line_out(self):
        def script(peer):
            peer.greet()
            peer.present("alice", "bob")
            peer.relay(2, "hi\x1b[2J")
            assert peer.read("Text")["body"] == "one"
            peer.status(1)
            assert peer.read("Text")["body"] == "two"
            peer.write("Left", 3, 0, 0, "bob")
            peer.status(2, 1, "no")
            peer.part()

        address, program = self.start(script, "alice")
        output, complaints = program.communicate("one\ntwo", timeout=DEADLINE)
        self.assertEqual(output.splitlines(), [
            f"connected to {address} as 'alice'", "* Present: alice, bob", "bob: hi\\x1b[2J",
            "* Left: bob"])
        self.assertEqual(complaints, "refused: (2, 1, 'no')\n")
        self.assertEqual(program.returncode, 0)

    def test_the_end_by_the_server_ends_it_while_stdin_is_open(self):
        def script(peer):
            peer.greet()
            peer.write("Terminate", 1, 0, "back soon")
            peer.read("TerminateAck")

        _, program = self.start(script)
        with program:
            self.assertEqual(program.wait(DEADLINE), 1)
            self.assertIn("'detail': 'back soon'", program.stderr.read())


if __name__ == "__main__":
    unittest.main()
