"""Parses mails with Python's email package: four bytes of length and the mail, one line of JSON each."""
import json
import struct
import sys
from email import message_from_bytes, policy

inp, out = sys.stdin.buffer, sys.stdout
while head := inp.read(4):
    m = message_from_bytes(inp.read(struct.unpack(">I", head)[0]), policy=policy.default)
    parts = list(m.walk())
    # An address of SMTPUTF8 (RFC 6531) is no defect, but an older reader of the policy says so.
    utf8 = any(ord(c) > 127 for c in str(m["To"]))
    known = ("NonASCIILocalPartDefect", "UndecodableBytesDefect") if utf8 else ()
    defects = [d for p in parts for d in p.defects] + [d for v in m.values() for d in getattr(v, "defects", ())]
    said = {
        "headers": m.keys(),
        "to": [a.addr_spec.encode("utf-8", "surrogateescape").decode() for a in m["To"].addresses],
        "from": [a.addr_spec for a in m["From"].addresses],
        "subject": str(m["Subject"]),
        "types": [p.get_content_type() for p in parts],
        "texts": [p.get_content().replace("\r\n", "\n") for p in parts if not p.is_multipart()],
        "defects": [repr(d) for d in defects if type(d).__name__ not in known],
    }
    out.write(json.dumps(said) + "\n")
    out.flush()
