#!/usr/bin/env python3
"""Writes proto/cri-v1.proto from the wire facts in proto/cri-v1.json.

Usage: xtask/cri_proto.py [--check]      (from the root of the repository)

The facts are field numbers, names, types and labels of the Container Runtime Interface v1 (`runtime.v1`); the
.proto carries nothing else. `--check` writes nothing and exits 1 if the committed file is stale.
"""
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FACTS = ROOT / "proto" / "cri-v1.json"
PROTO = ROOT / "proto" / "cri-v1.proto"

HEADER = """\
// Container Runtime Interface v1, as the kubelet of Kubernetes v1.36 speaks it.
// Written by xtask/cri_proto.py from the facts in proto/cri-v1.json. Do not edit by hand.

"""

# Enums that upstream declares inside a message. Their values would collide with others at the top level.
NESTED = {"ProfileType": "SecurityProfile"}


def enum(name, values, indent=""):
    lines = [f"{indent}enum {name} {{"]
    if len({number for number, _ in values}) != len(values):
        lines.append(f"{indent}    option allow_alias = true;")
    lines += [f"{indent}    {value} = {number};" for number, value in values]
    return "\n".join(lines + [f"{indent}}}", ""])


def message(name, fields, enums):
    lines = [f"message {name} {{"]
    lines += [enum(child, enums[child], "    ").rstrip("\n") for child, parent in NESTED.items() if parent == name]
    for number, field, kind, label in fields:
        kind = kind.replace(",", ", ") if kind.startswith("map<") else kind
        lines.append(f"    {label + ' ' if label else ''}{kind} {field} = {number};")
    return "\n".join(lines + ["}", ""])


def service(name, methods):
    lines = [f"service {name} {{"]
    for method, request, label, response in methods:
        lines.append(f"    rpc {method}({request}) returns ({label + ' ' if label else ''}{response}) {{}}")
    return "\n".join(lines + ["}", ""])


def render(facts):
    parts = [f'{HEADER}syntax = "{facts["syntax"]}";\n\npackage {facts["package"]};\n']
    parts += [service(name, methods) for name, methods in facts["services"].items()]
    parts += [enum(name, values) for name, values in facts["enums"].items() if name not in NESTED]
    parts += [message(name, fields, facts["enums"]) for name, fields in facts["messages"].items()]
    return "\n".join(parts)


def main():
    text = render(json.loads(FACTS.read_text()))
    if "--check" in sys.argv[1:]:
        if PROTO.read_text() != text:
            sys.exit(f"{PROTO.relative_to(ROOT)} is stale; run xtask/cri_proto.py")
        return
    PROTO.write_text(text)


main()
