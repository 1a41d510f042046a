"""Tests of the Python client's codec against the test vectors of the protocol.

    python3 -m unittest discover examples/python
"""

import json
import pathlib
import unittest

from tcpkit import FIELDS, KINDS, SIZES, encode, next_frame

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "tests" / "vectors"
FRAME_MAX = 1 << 20
ONLY_SERVERS_TAKE = {0x12, 0x40, 0x42, 0x43}  # Move and streams: neither sent nor taken here
JUDGED_BY_SERVERS = {4, 5}  # the errors of version and magic


def vectors():
    """The vectors of frames and those of violations, each by name."""
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in VECTORS.glob("*.json")}
    assert found, "the vectors are not where they should be"
    bad = {name: vector for name, vector in found.items() if name.startswith("bad-")}
    return {name: found[name] for name in found if name not in bad}, bad


def bytes_of(vector):
    return bytes.fromhex(vector["hex"])


def fields_of(vector):
    """The fields of a vector as a frame has them: bytes, and no numbers in quotes."""
    forms, fields = dict(FIELDS[vector["kind"]]), {}
    if vector["kind"] == "Init":
        fields["magic"] = b"tcpkit"
    for name, value in vector["fields"].items():
        if name.endswith("_hex"):
            fields[name[:-len("_hex")]] = bytes.fromhex(value)
        else:
            fields[name] = int(value) if forms[name] in SIZES else value
    return fields


def joined(names):
    """The names of a Present as the client need not write them."""
    return b"".join(len(name.encode()).to_bytes(2, "big") + name.encode() for name in names)


class Vectors(unittest.TestCase):
    def test_frames_decode_to_their_fields_and_encode_to_their_bytes(self):
        seen = set()
        for name, vector in vectors()[0].items():
            wire, kind = bytes_of(vector), vector["kind"]
            if wire[4] in ONLY_SERVERS_TAKE:
                continue
            with self.subTest(name):
                frame = next_frame(bytearray(wire), FRAME_MAX)
                seen.add(frame["kind"])
                if kind not in FIELDS:
                    self.assertEqual(frame, {"kind": "Skipped"})
                    continue
                fields = fields_of(vector)
                if "status" not in vector:  # such a text is for the server to refuse
                    self.assertEqual(frame, {"kind": kind, **fields})
                if "decode_only" not in vector:
                    values = [joined(value) if field == "names" else value
                              for field, value in fields.items()]
                    self.assertEqual(encode(kind, *values), wire)
        self.assertLessEqual(set(FIELDS), seen)

    def test_violations_have_the_code_that_is_told(self):
        for name, vector in vectors()[1].items():
            wire = bytes_of(vector)
            kind, _ = KINDS.get(wire[4] if len(wire) > 4 else None, (None, None))
            is_for_others = kind == "Skipped" or wire[4:5] and wire[4] in ONLY_SERVERS_TAKE
            if is_for_others or vector["error"] in JUDGED_BY_SERVERS:
                continue
            with self.subTest(name, why=vector["why"]):
                frame = next_frame(bytearray(wire), FRAME_MAX)
                self.assertNotIn(frame["kind"], FIELDS)
                self.assertEqual(frame.get("code", 3), vector["error"])  # 3: an unknown kind

    def test_all_in_one_stream_come_out_whole_however_it_is_cut(self):
        pieces = [bytes_of(vector) for vector in vectors()[0].values()]
        expected = [next_frame(bytearray(piece), FRAME_MAX) for piece in pieces]
        for size in (1, 3, 64, 1 << 20):
            stream, buffer, frames = b"".join(pieces), bytearray(), []
            for begin in range(0, len(stream), size):
                buffer += stream[begin:begin + size]
                frames += iter(lambda: next_frame(buffer, FRAME_MAX), None)
            self.assertEqual(frames, expected)
            self.assertEqual(buffer, b"")


if __name__ == "__main__":
    unittest.main()
