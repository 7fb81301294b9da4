#!/usr/bin/env python3
"""Reads a usertrail store without any of its code: from docs/FORMAT.md, with the standard library alone.

    read_store.py DIR              every event as a line of JSON on stdout: user by user (in the order of the user ids'
                                   bytes), each in the order of the user sequence; then the events without a user
    read_store.py DIR --user ID    that user's events alone

A summary goes to stderr as one JSON object. Exit codes: 0 fine, 1 not a store, 2 usage, 4 damaged (the place on stderr).
Every checksum on the way is compared, and every index run is compared with the records that it covers.
"""

import argparse
import ipaddress
import json
import os
import struct
import sys
import uuid

LEVELS = ["info", "warning", "error", "suspicious"]
CATEGORIES = ["auth", "security", "session", "account", "admin", "data", "system"]
STATUSES = ["success", "failure", "error"]
# Codes 1, 2, 3, ...
ACTIONS = """
session.created session.revoked session.revoked_all session.login session.logout session.timeout session.extended
session.concurrent_warning session.expired_cleanup session.tampering session.hijack_suspected
auth.login auth.login_failed auth.logout auth.register auth.token_refreshed auth.password_reset_requested
auth.password_reset auth.password_changed auth.email_verified auth.email_changed auth.lockout auth.lockout_cleared
auth.attempts_cleanup auth.rate_limited auth.qr_generated auth.qr_scanned auth.pin_verified auth.pin_failed
auth.mfa_enabled auth.mfa_disabled auth.mfa_denied auth.backup_code_used auth.secure_action_verified
tenant.created tenant.updated tenant.deleted tenant.activated tenant.deactivated tenant.subscription_changed
user.created user.updated user.deleted user.activated user.deactivated user.role_changed user.invited user.suspended
user.credentials_reset
branch.created branch.updated branch.deleted branch.activated branch.deactivated settings.updated maintenance.performed
security.suspicious store.segment_retired store.user_erased store.hold_placed store.hold_released system.clock_jumped
""".split()
FIELDS = [
    "userId", "tenantId", "actorId", "action", "service", "resource", "resourceId", "sessionId", "requestId",
    "idempotencyKey", "ipAddress", "userAgent", "message", "details",
]
MEMBERS = [
    "id", "userSequence", "occurredAt", "recordedAt", "userId", "tenantId", "actorId", "category", "level", "action",
    "status", "service", "resource", "resourceId", "sessionId", "requestId", "idempotencyKey", "ipAddress", "userAgent",
    "message", "details",
]
FORMAT_VERSION = 1
SHARD_VERSION = 2
RECORDS_START = 4096
ENVELOPE_BYTES = 24
NONE = 0xFFFF_FFFF_FFFF_FFFF


class Damaged(Exception):
    """Bytes that are not what was written: a file and an offset in it."""

    def __init__(self, path, offset, message):
        super().__init__(f"{path} at byte {offset}: {message}")


# ---------------------------------------------------------------------------------------------------------------- crc32c


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data, crc=0):
    """The checksum of data, or of what crc is the checksum of and then data."""
    table = _CRC_TABLE
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


# -------------------------------------------------------------------------------------------------------- bytes and files


class File:
    """A file's bytes, which say where they are damaged."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            self.data = file.read()

    def damaged(self, offset, message):
        return Damaged(self.path, offset, message)

    def take(self, form, offset):
        """One value, or several as a tuple."""
        try:
            values = struct.unpack_from("<" + form, self.data, offset)
        except struct.error:
            raise self.damaged(offset, "the file ends too early") from None
        return values[0] if len(values) == 1 else values

    def part(self, offset, length):
        if offset < 0 or length < 0 or offset + length > len(self.data):
            raise self.damaged(offset, "the file ends too early")
        return self.data[offset : offset + length]

    def check(self, offset, stored, actual, what):
        if stored != actual:
            raise self.damaged(offset, f"the checksum of {what} does not match")

    def check_head(self, magic, newest=FORMAT_VERSION):
        if not self.data.startswith(magic):
            raise self.damaged(0, "another kind of file")
        version = self.take("I", 8)
        if not 1 <= version <= newest:
            raise self.damaged(8, f"format version {version}")
        return version


class Archive:
    """An rkyv archive: its root is at its end, and pointers count from where they stand."""

    def __init__(self, file, offset, length):
        self.file, self.start, self.end = file, offset, offset + length
        file.part(offset, length)

    def root(self, size):
        if size > self.end - self.start:
            raise self.file.damaged(self.start, "the archive is too short")
        return self.end - size

    def _follow(self, at, pointer, length):
        target = at + pointer
        if target < self.start or target + length > self.end:
            raise self.file.damaged(at, "a pointer leads out of the archive")
        return target

    def vector(self, at, element_bytes):
        """Where each element stands."""
        pointer, count = self.file.take("iI", at)
        if count == 0:
            return []
        first = self._follow(at, pointer, count * element_bytes)
        return [first + n * element_bytes for n in range(count)]

    def string(self, at):
        raw = self.file.part(at, 8)
        if raw[0] & 0xC0 != 0x80:
            text = raw.split(b"\xff")[0]
        else:
            n, pointer = struct.unpack("<Ii", raw)
            length = n & 0x3F | (n & 0xFFFFFF00) >> 2
            text = self.file.part(self._follow(at, pointer, length), length)
        return text.decode("utf-8")


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def align(offset, to):
    return -(-offset // to) * to


# -------------------------------------------------------------------------------------------------------------- manifests


def manifest(path, magic, newest):
    file = File(path)
    version = file.check_head(magic, newest)
    crc, length = file.take("IQ", 12)
    if length != len(file.data) - 32:
        raise file.damaged(16, "the manifest's length is not the file's")
    file.check(32, crc, crc32c(file.data[32:]), "the manifest")
    return file, Archive(file, 32, length), version


def store_manifest(directory):
    file, archive, _ = manifest(os.path.join(directory, "STORE"), b"UTSTORE\0", FORMAT_VERSION)
    at = archive.root(64)
    return {"id": file.part(at, 16), "name": archive.string(at + 16), "shards": file.take("H", at + 24)}


def shard_manifest(directory, store_id, shard):
    file, archive, version = manifest(os.path.join(directory, "MANIFEST"), b"UTSHARD\0", SHARD_VERSION)
    at = archive.root(48 if version == 1 else 72)
    if file.part(at, 16) != store_id or file.take("H", at + 16) != shard:
        raise file.damaged(at, "the manifest belongs to another shard or store")
    names = ("id", "generation", "salt", "file_bytes", "sealed")
    segments = [dict(zip(names, file.take("QI4xQQ?", entry))) for entry in archive.vector(at + 32, 40)]
    closed = archive.vector(at + 64, 24) if version > 1 else []
    closed = {segment: (end, used_to) for segment, end, used_to in (file.take("QQQ", entry) for entry in closed)}
    for entry in segments:
        entry["end"], entry["used_to"] = closed.get(entry["id"], (None, 0))
    names = ("epoch", "first_lost", "lost_end", "at")
    rollbacks = [dict(zip(names, file.take("I4xQQq", entry))) for entry in archive.vector(at + 40, 32)]
    if version > 1 and archive.vector(at + 56, 32):
        raise SystemExit(f"{file.path}: the store is packed, which this reader does not read: usertrail pack --undo")
    runs = [] if version == 1 else [file.take("3Q", entry) for entry in archive.vector(at + 48, 24)]
    return segments, rollbacks, runs


# --------------------------------------------------------------------------------------------------------------- segments


class Segment:
    def __init__(self, directory, store_id, shard, entry):
        self.file = file = File(os.path.join(directory, f"{entry['id']:016}.log"))
        file.check_head(b"UTSEG\0\0\0")
        file.check(12, file.take("I", 12), crc32c(file.part(16, 80)), "the segment header")
        generation, segment, length, self.salt = file.take("IQQQ", 36)
        same = (generation, self.salt) == (entry["generation"], entry["salt"])
        renewed = not entry["sealed"] and generation == entry["generation"] + 1
        fits = (file.part(16, 16), file.take("H", 32), segment, length) == (
            store_id, shard, entry["id"], entry["file_bytes"],
        )
        if not (fits and (same or renewed)) or length != len(file.data):
            raise file.damaged(0, "the file is not the segment that the manifest names")
        self.salt_bytes = struct.pack("<Q", self.salt)
        self.sealed, self.closed_end, self.used_to = entry["sealed"], entry["end"], entry["used_to"]
        # Recovery closes a segment at a sequence below which all was on stable storage.
        self.floor = self.closed_end or 0
        self.leaves = []

    def salted(self, data):
        return crc32c(data, crc32c(self.salt_bytes))

    def record(self, at):
        """(leaf, floor, group place, group length) of the record at an offset."""
        file = self.file
        length, crc, floor, place, group = file.take("IIQHH", at)
        if not 1 <= length <= 65535:
            raise file.damaged(at, "the record's length is out of range")
        covered = self.salt_bytes + struct.pack("<Q", at) + file.part(at, 4) + file.part(at + 8, 16 + length)
        file.check(at, crc, crc32c(covered), "the record")
        if place >= group:
            raise file.damaged(at, "the record's place lies outside of its group")
        return file.part(at + ENVELOPE_BYTES, length), floor, place, group

    def read(self, base):
        self.base = base
        if self.sealed:
            self.read_sealed()
        else:
            self.read_unsealed()

    def read_sealed(self):
        file = self.file
        at = len(file.data) - 64
        if file.part(at, 8) != b"UTSEALED":
            raise file.damaged(at, "a sealed segment without a trailer")
        crc, footer_at, footer_bytes, footer_crc = file.take("IQII", at + 12)
        file.check(at, crc, self.salted(file.part(at + 16, 48)), "the trailer")
        file.check(footer_at, footer_crc, crc32c(file.part(footer_at, footer_bytes)), "the footer")
        archive = Archive(file, footer_at, footer_bytes)
        root = archive.root(72)
        base, count, records_end, sidecar, first, last, rec_first, rec_last, _ = file.take("4Q4qQ", root)
        if base != self.base:
            raise file.damaged(root, f"the segment begins at {base} instead of {self.base}")
        if sidecar != max(align(records_end, 8), self.used_to) or align(sidecar + 4 * count, 16) != footer_at:
            raise file.damaged(root, "the footer contradicts the file")
        at = RECORDS_START
        for ordinal in range(count):
            if file.take("I", sidecar + 4 * ordinal) != at:
                raise file.damaged(sidecar + 4 * ordinal, "the sidecar names another offset")
            leaf, floor, _, _ = self.record(at)
            self.add(leaf, floor, at)
            at = align(at + ENVELOPE_BYTES + len(leaf), 8)
        if at != align(records_end, 8):
            raise file.damaged(at, "the records end elsewhere than the footer says")
        occurred = [leaf["occurredAt"] for leaf in self.leaves]
        recorded = [leaf["recordedAt"] for leaf in self.leaves]
        if count and (min(occurred), max(occurred), min(recorded), max(recorded)) != (first, last, rec_first, rec_last):
            raise file.damaged(root, "the footer's times are not those of the records")

    def read_unsealed(self):
        file = self.file
        for at in (512, 1024):
            counter, floor, flags, _, crc = file.take("QQIII", at)
            if counter and crc == self.salted(file.part(at, 24)):
                self.floor = max(self.floor, floor)
        at, whole = RECORDS_START, 0
        while at + ENVELOPE_BYTES < len(file.data):
            if self.closed_end is not None and self.base + len(self.leaves) >= self.closed_end:
                break
            try:
                leaf, floor, place, group = self.record(at)
            except Damaged:
                break
            if struct.unpack_from("<Q", leaf)[0] != self.base + len(self.leaves):
                break
            self.add(leaf, floor, at)
            if place + 1 == group:
                whole = len(self.leaves)
            at = align(at + ENVELOPE_BYTES + len(leaf), 8)
        self.end_offset = at
        # A group whose end is missing is not there at all.
        del self.leaves[whole:]

    def add(self, leaf, floor, at):
        self.floor = max(self.floor, floor)
        event = parse_leaf(leaf, lambda message: self.file.damaged(at, message))
        if event["sequence"] != self.base + len(self.leaves):
            raise self.file.damaged(at, "another record lies in this one's place")
        self.leaves.append(event)

    @property
    def end(self):
        return self.base + len(self.leaves)


def parse_leaf(leaf, damaged):
    if len(leaf) < 68:
        raise damaged("the leaf is too short")
    sequence, user_sequence, previous, recorded_at, level, category, status, count, code = struct.unpack_from(
        "<QQQqBBBBH", leaf
    )
    occurred_at, presence = struct.unpack_from("<qI", leaf, 56)
    start = 68 + 2 * count
    if count > 32 or len(leaf) < start:
        raise damaged("the leaf's table is too long")
    ends = struct.unpack_from(f"<{count}H", leaf, 68)
    if any(a > b for a, b in zip((0,) + ends, ends)) or (count and start + ends[-1] > len(leaf)):
        raise damaged("the leaf's table is out of order")
    if level >= len(LEVELS) or category >= len(CATEGORIES) or status >= len(STATUSES):
        raise damaged("a code is not known")
    event = {
        "sequence": sequence,
        "previous": None if previous == NONE else previous,
        "id": str(uuid.UUID(bytes=leaf[40:56])),
        "userSequence": None if user_sequence == NONE else user_sequence,
        "occurredAt": occurred_at,
        "recordedAt": recorded_at,
        "level": LEVELS[level],
        "category": CATEGORIES[category],
        "status": STATUSES[status],
    }
    for number, name in enumerate(FIELDS[:count]):
        if presence >> number & 1:
            raw = leaf[start + (ends[number - 1] if number else 0) : start + ends[number]]
            try:
                event[name] = str(ipaddress.ip_address(raw)) if name == "ipAddress" else raw.decode("utf-8")
            except ValueError as error:
                raise damaged(f"{name}: {error}") from None
    if code:
        if code > len(ACTIONS):
            raise damaged(f"action code {code} is not known")
        event["action"] = ACTIONS[code - 1]
    return event


# ------------------------------------------------------------------------------------------------------------ index runs


class Covered:
    """The records of neighbouring segments, as a run sees them."""

    def __init__(self, segments, salt=None):
        self.base = segments[0].base
        self.leaves = [leaf for segment in segments for leaf in segment.leaves]
        self.merged = salt is not None
        self.salt = salt if self.merged else segments[0].salt


def check_run(path, store_id, shard, segment):
    """Compares every posting of a run with the records that it covers. Says how many there are."""
    file = File(path)
    file.check_head(b"UTRUN\0\0\0")
    file.check(12, file.take("I", 12), crc32c(file.part(16, 144)), "the run header")
    base, records, users, salt, time_base = file.take("4Qq", 40)
    _, _, directory, postings, postings_bytes, names_at, names_bytes, checksums = file.take("8Q", 80)
    scope = (file.part(16, 16), file.take("H", 32), base, records, salt)
    if scope != (store_id, shard, segment.base, len(segment.leaves), segment.salt):
        raise file.damaged(0, "the run belongs to another segment")
    merged = file.take("I", 148) > 0
    if merged != segment.merged:
        raise file.damaged(148, "the level is not that of a run of so many segments")
    file.check(checksums, file.take("I", 144), crc32c(file.data[checksums:]), "the checksums")
    for number, page in enumerate(range(4096, checksums, 4096)):
        stored = file.take("I", checksums + 4 * number)
        file.check(page, stored, crc32c(file.part(page, 4096)), "a page")
    archive = Archive(file, names_at, names_bytes)
    root = archive.root(16)
    own_actions = [archive.string(at) for at in archive.vector(root, 8)]
    services = [archive.string(at) for at in archive.vector(root + 8, 8)]
    section = file.part(postings, postings_bytes)
    seen, last = 0, b""
    for number in range(users):
        at = directory + 40 * number
        fingerprint = file.part(at, 16)
        if fingerprint <= last:
            raise file.damaged(at, "the directory is out of order")
        last = fingerprint
        before, offset, count, last_ordinal = file.take("QQII", at + 16)
        table = block_table(section, offset, count, merged)
        owners = set()
        index = 0
        for block, summary in enumerate(table):
            if summary["first"] != index:
                raise file.damaged(at, "a block begins elsewhere than its table says")
            size = (table[block + 1]["first"] if block + 1 < len(table) else count) - index
            start = offset + summary["offset"]
            low, start = varint(section, start)
            low = time_base + (low >> 1 ^ -(low & 1))
            span, start = varint(section, start)
            tags = struct.unpack_from(f"<{size}I", section, start)
            start += 4 * size
            ordinal, mask, times = 0, 0, []
            actions, names = 0, 0
            for tag in tags:
                step, start = varint(section, start)
                ordinal += step
                event = segment.leaves[ordinal]
                check_posting(file, at, event, tag, before + index, own_actions, services)
                owners.add(event["userId"])
                times.append(event["occurredAt"])
                mask |= 1 << (tag & 3) | 1 << 4 + (tag >> 5 & 3) | 1 << 8 + (tag >> 2 & 7)
                action, service = tag >> 7 & 8191, tag >> 20
                actions |= 0xFFFFFFFF if action == 8191 else 1 << action % 32
                names |= 0xFFFF if service == 4095 else 1 << service % 16
                index += 1
            if (min(times), max(times)) != (low, low + span):
                raise file.damaged(at, "a block's times are not those of its records")
            said = (mask, names, actions, low, low + span) if merged else (mask, low, low + span)
            if len(table) > 1 and summary["said"] != said:
                raise file.damaged(at, "a block's summary is not that of its postings")
        if len(owners) != 1 or ordinal != last_ordinal:
            raise file.damaged(at, "the postings are not those of one user")
        seen += count
    with_user = sum(1 for event in segment.leaves if event["userSequence"] is not None)
    if seen != with_user:
        raise file.damaged(0, f"the run has {seen} postings for {with_user} records")
    return seen


def block_table(section, offset, count, merged):
    """Where each block of a user begins, its first posting's index, and what the table says of it."""
    if count <= 128:
        return [{"offset": 0, "first": 0}]
    if not merged:
        lines = (struct.unpack_from("<IH2xqq", section, offset + 24 * n) for n in range(-(-count // 128)))
        return [{"offset": line[0], "first": 128 * n, "said": line[1:]} for n, line in enumerate(lines)]
    (table_bytes,) = struct.unpack_from("<I", section, offset)
    lines = (struct.unpack_from("<IIHHIqq", section, offset + at) for at in range(0, table_bytes, 32))
    return [{"offset": line[0], "first": line[1], "said": line[2:]} for line in lines]


def check_posting(file, at, event, tag, user_sequence, own_actions, services):
    level, category, status, action, service = tag & 3, tag >> 2 & 7, tag >> 5 & 3, tag >> 7 & 8191, tag >> 20
    said = (LEVELS[level], CATEGORIES[category], STATUSES[status], user_sequence)
    if said != (event["level"], event["category"], event["status"], event["userSequence"]):
        raise file.damaged(at, "a posting is not its record's")
    if action != 8191:
        name = ACTIONS[action - 1] if action < 512 else own_actions[action - 512]
        if name != event["action"]:
            raise file.damaged(at, "a posting's action is not its record's")
    if service != 4095 and (services[service - 1] if service else None) != event.get("service"):
        raise file.damaged(at, "a posting's service is not its record's")


# -------------------------------------------------------------------------------------------------------------- the store


def read_shard(directory, store_id, shard, summary):
    entries, rollbacks, merged_runs = shard_manifest(directory, store_id, shard)
    sealed = []
    events, base, unsealed_seen = [], 0, False
    floor = 0
    for entry in entries:
        segment = Segment(directory, store_id, shard, entry)
        segment.read(base)
        base = segment.end
        floor = max(floor, segment.floor, base if segment.sealed else 0)
        if segment.sealed and unsealed_seen:
            raise segment.file.damaged(0, "a sealed segment follows an unsealed one")
        unsealed_seen = not segment.sealed
        kind = "sealed" if segment.sealed else "unsealed"
        summary[kind + "Segments"] += 1
        summary[kind + "Events"] += len(segment.leaves)
        if segment.sealed:
            sealed.append((entry["id"], segment))
        events += segment.leaves
    for first, last, salt in merged_runs:
        path = os.path.join(directory, f"{first:016}-{last:016}.run")
        covered = [segment for number, segment in sealed if first <= number <= last]
        sealed = [one for one in sealed if not first <= one[0] <= last]
        summary["mergedRuns"] += 1
        summary["postings"] += check_run(path, store_id, shard, Covered(covered, salt))
    for number, segment in sealed:
        path = os.path.join(directory, f"{number:016}.run")
        if any(event["userSequence"] is not None for event in segment.leaves) or os.path.exists(path):
            summary["postings"] += check_run(path, store_id, shard, Covered([segment]))
    if base < floor:
        path = os.path.join(directory, "MANIFEST")
        raise Damaged(path, 0, f"the shard ends at {base}, though everything below {floor} was on stable storage")
    summary["epochs"] = max(summary["epochs"], rollbacks[-1]["epoch"] if rollbacks else 0)
    check_chains(directory, events)
    return events


def check_chains(directory, events):
    """User sequences are dense, pointers lead to the event before, recorded_at never falls."""
    heads, recorded = {}, None
    for event in events:
        at = event["sequence"]
        if recorded is not None and event["recordedAt"] < recorded:
            raise Damaged(directory, at, "recorded_at falls")
        recorded = event["recordedAt"]
        user = event.get("userId")
        expected = (None, None)
        if user is not None:
            count, last = heads.get(user, (0, None))
            expected = (count, last)
            heads[user] = (count + 1, at)
        if (event["userSequence"], event["previous"]) != expected:
            raise Damaged(directory, at, "the user's sequence has a gap")


def read_store(directory):
    store = store_manifest(directory)
    names = ("sealedSegments", "unsealedSegments", "sealedEvents", "unsealedEvents", "mergedRuns", "postings", "epochs")
    summary = {"name": store["name"], "shards": store["shards"], **dict.fromkeys(names, 0)}
    shards = []
    for shard in range(store["shards"]):
        path = os.path.join(directory, f"shard-{shard:02}")
        shards.append(read_shard(path, store["id"], shard, summary))
    return shards, summary


def rfc3339(micros):
    seconds, micros = divmod(micros, 1_000_000)
    days, seconds = divmod(seconds, 86_400)
    # Days to a date of the Gregorian calendar, by eras of 400 years that begin on March 1 (datetime has no year 0).
    days += 719_468
    era, day = divmod(days, 146_097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month += 3 if month < 10 else -9
    year += 400 * era + (1 if month <= 2 else 0)
    fraction = f".{micros // 1000:03}" if micros % 1000 == 0 else f".{micros:06}"
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{year:04}-{month:02}-{day + 1:02}T{clock}{fraction if micros else ''}Z"


def to_json(event):
    members = []
    for name in MEMBERS:
        value = event.get(name)
        if value is None:
            continue
        if name in ("occurredAt", "recordedAt"):
            value = rfc3339(value)
        # Details are JSON already, and are handed on as they are.
        text = value if name == "details" else json.dumps(value, ensure_ascii=False)
        members.append(f'"{name}":{text}')
    return "{" + ",".join(members) + "}"


def main():
    parser = argparse.ArgumentParser(description="Lists every event of a usertrail store as JSON lines.")
    parser.add_argument("directory")
    parser.add_argument("--user")
    arguments = parser.parse_args()
    if not os.path.exists(os.path.join(arguments.directory, "STORE")):
        print(f"{arguments.directory}: not a store", file=sys.stderr)
        return 1
    try:
        shards, summary = read_store(arguments.directory)
    except Damaged as error:
        print(error, file=sys.stderr)
        return 4
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    users, others = {}, []
    for events in shards:
        for event in events:
            if "userId" in event:
                users.setdefault(event["userId"].encode("utf-8"), []).append(event)
            else:
                others.append(event)
    wanted = sorted(users) if arguments.user is None else [arguments.user.encode("utf-8")]
    out = open(sys.stdout.fileno(), "w", encoding="utf-8", newline="\n", closefd=False)
    for user in wanted:
        for event in users.get(user, []):
            print(to_json(event), file=out)
    for event in others if arguments.user is None else []:
        print(to_json(event), file=out)
    out.flush()
    print(json.dumps(summary), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
